// Package conf is what the operator asked for: the host file and the policy file,
// as typed values. It is strict: an unknown key is a fault, and all faults of a
// file are reported at once, each with file, line, key and what to do about it.
//
// A file is read in three steps. The TOML library judges the syntax. The reader
// (read.go) takes every key it knows out of the decoded tables and checks each
// value by itself. Last come the checks between values of the same file:
// duplicates, references, families. What needs the machine (does the interface
// exist?) or the whole policy (do prefixes overlap?) is judged elsewhere; Fault and
// Line of Config and Policy put such late findings on the right line.
//
// Floor 1, beside dataplane. It imports nothing of paca, and its types stop at
// ctrl/daemon.
package conf
