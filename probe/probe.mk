## SPDX-License-Identifier: LGPL-2.1-or-later
##
## ifd-purse-probe, the tool for the first hour with a reader; included by Makefile.am.
