// Package publisher accepts revocations, signs them, puts them on the bus, and
// tells the caller what the fleet's agents have made of them.
//
// # What it promises
//
// An order that [Publisher.Revoke] accepted is in the ledger, on disk, before it
// is published: it goes out however often the publisher or the bus dies in
// between. An error other than [ErrQueued] means that nothing was accepted.
// Counts are those that agents have reported: an agent whose report is missing is
// named, and never counted as zero.
//
// Every publisher of a fleet follows the streams into its own ledger and its own
// denylist. When a stream loses events, each publishes again what it has and the
// stream lacks; none holds anything that another cannot rebuild, except its own
// outbox. Run several.
//
// # The caller's duties
//
// Authenticate and authorise: Revoke does what it is told. Verify tokens before
// they are handed over, or anyone who knows a jti can revoke it. The connection
// stays the caller's: Close does not close it. Use one that reconnects for ever
// (nats.MaxReconnects(-1)).
package publisher
