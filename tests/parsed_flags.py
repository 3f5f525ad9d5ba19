"""What main.py made of its arguments, forgotten again."""

from absl import flags

OWN = (
    *("config", "workdir", "mode", "gallery", "num_devices"),
    *("coordinator", "num_processes", "process_id", "distributed"),
    *("start_seconds", "heartbeat_seconds"),
)


def forget() -> None:
    """Leave the program's flags as they were before a command line was parsed."""
    for name in list(flags.FLAGS):
        if name.startswith("config."):
            delattr(flags.FLAGS, name)
    flags.FLAGS.unparse_flags()
    for name in OWN:
        flags.FLAGS[name].unparse()
