# SPDX-License-Identifier: LGPL-2.1-or-later
"""Money on a serial line: money.py's commands and faults, and bytes that get lost or doubled on the way."""
import rig
import till

till.on("serial")
rig.main()
