"""A small disk of one backend's own, which can be full: a tmpfs on its data folder and a file that takes the rest.

A limit on the size of a process's files would need no rights, but it fails with another error (EFBIG), never a
directory, a rename or a memory-mapped file, and ClickHouse, which asks the file system first, would not see it.
"""

import os
import subprocess
import threading
import time
from pathlib import Path

BALLAST = ".ballast"
CHUNK = bytes(65_536)
EVERY_S = 0.005


class Volume:
    """open() before the backend starts, close() after it has ended. Mounting needs root: PermissionError without."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self.folder, self.size_bytes = folder, size_bytes
        self._is_mounted = False
        self._is_filling = threading.Event()
        self._filler: threading.Thread | None = None

    def open(self) -> None:
        """Mount it on the folder, which is created."""
        self.folder.mkdir(parents=True, exist_ok=True)
        options = f"size={self.size_bytes},mode=0700"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "touchstream-chaos", str(self.folder)],
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise PermissionError(
                f"a disk for {self.folder} cannot be mounted: {done.stderr.strip()}. Run the tests as root, or in a"
                " mount namespace of your own: unshare --map-root-user --mount python -m pytest …"
            )
        self._is_mounted = True

    def fill(self) -> None:
        """Leave no byte, also of what the backend gives back meanwhile: whoever writes now is told so."""
        self._take_all()
        self._is_filling.set()
        self._filler = threading.Thread(target=self._keep_full, daemon=True)
        self._filler.start()

    def _keep_full(self) -> None:
        while self._is_filling.is_set():
            self._take_all()
            time.sleep(EVERY_S)

    def _take_all(self) -> None:
        place = os.open(self.folder / BALLAST, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            for chunk in (CHUNK, CHUNK[:512], CHUNK[:1]):
                _write_all(place, chunk)
        finally:
            os.close(place)

    def free(self) -> None:
        """Give the space back."""
        self._is_filling.clear()
        if self._filler is not None:
            self._filler.join()
            self._filler = None
        (self.folder / BALLAST).unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """What is left."""
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    def close(self) -> None:
        """Unmount; what is on it is gone."""
        if self._is_mounted:
            self.free()
            # Lazily: somebody may still hold a file, and a test that fails must not leave a mount behind.
            subprocess.run(["umount", "-l", str(self.folder)], check=False)
            self._is_mounted = False


def _write_all(place: int, chunk: bytes) -> None:
    try:
        while True:
            os.write(place, chunk)
    except OSError:
        return
