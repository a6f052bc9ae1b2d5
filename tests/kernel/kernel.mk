## SPDX-License-Identifier: LGPL-2.1-or-later
##
## The tests on a real kernel; included by Makefile.am.
