"""The operator's command `touchstream`: one typer application, commands registered by topic."""

import typer

from cli import broker, customers, dead, docs, identity, rebase, rejected, rules, stack
from cli.bench.command import bench
from cli.dead_allow import dead_allow
from cli.demo.command import demo
from cli.rebuild.command import rebuild
from cli.replay.command import replay
from cli.resolve import resolve_command
from cli.verify.command import verify

app = typer.Typer(no_args_is_help=True, add_completion=False)
app.add_typer(docs.app, name="docs")
app.add_typer(broker.app, name="broker")
app.add_typer(rules.app, name="rules")
app.add_typer(rejected.app, name="rejected")
app.add_typer(dead.app, name="dead")
dead.app.command("allow")(dead_allow)
app.add_typer(identity.app, name="identity")
stack.register(app)
app.command()(rebase.rebase)
app.command()(rebuild)
customers.register(app)
app.command()(bench)
app.command()(demo)
app.command()(replay)
app.command()(verify)
app.command(name="resolve")(resolve_command)


def main() -> None:
    """Run the command line; exits the process with the command's code."""
    app()
