// Bench measures rescind beside what people would pick instead and beside the
// limit of the machine, all in one run: absolute times mean little on a shared
// machine, so every row has a ratio.
//
//	go run . [--quick] [--json] [--rows check,accept] [--plots DIR]
//
// Servers listen on loopback, files live in a temporary directory, and every
// loop is bounded.
package main
