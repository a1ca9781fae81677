"""The audit log: how rows are appended and read, signed for, exported, verified and watched."""
