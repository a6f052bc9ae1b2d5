## SPDX-License-Identifier: LGPL-2.1-or-later
##
## The tests that load the built handler and call IFDH… directly; included by Makefile.am.
