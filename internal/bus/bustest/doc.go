// Package bustest runs a real nats-server in the test's process, and does to it
// what happens to servers: stopping, being killed, losing or rolling back a
// stream, a network that is cut or swallows everything.
//
// Everything cleans up after itself at the end of the test and fails it when
// something cannot be done. Methods of one Server must not be called at the same
// time, except Connect, Bus and URL.
package bustest
