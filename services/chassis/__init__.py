"""What every service shares and no business noun may enter: settings, logs, metrics, health, Kafka loop, ledger."""
