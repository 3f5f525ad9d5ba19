"""The modes, one file each: run(config, workdir) -> plain numbers."""
