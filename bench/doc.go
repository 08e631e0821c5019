// Bench measures rescind beside what people would pick instead and beside the
// limit of the machine, all in one run: absolute times mean little on a shared
// machine, so every row has a ratio.
//
//	go run . [--quick] [--json | --markdown] [--rows check,accept] [--plots DIR]
//
// It prints a table, and exits with 1 after it when a row misses its target.
// redis-server and wrk must be installed for the rows that compare with them.
//
// Servers listen on loopback, files live in a temporary directory, and every
// loop is bounded.
package main
