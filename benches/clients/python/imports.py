"""What importing a connector costs: CPU time and resident memory."""

import os
import time

MODULES = {"ours": "iamsql", "peer": "google.cloud.sql.connector"}


def measure(side):
    module = MODULES[side]
    resident_before, cpu_before = resident(), time.process_time()
    __import__(module)
    cpu = time.process_time() - cpu_before
    return {"cpu": cpu, "resident": resident() - resident_before}


def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")
