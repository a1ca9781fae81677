"""The parts of `ehr load`: reading files, looking ahead, preparing in processes, putting in."""
