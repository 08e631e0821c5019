// Package bus is how a fleet's messages travel: the only code that speaks
// JetStream. It makes and checks the streams, publishes to them, reads them by
// position and listens to what the server republishes.
//
// # Use
//
// A [Bus] is built from a connection that it does not own. The operator's side
// calls [Bus.Apply] once; a publisher calls [Bus.Verify] before it takes work,
// then [Bus.Publish] and [Bus.Info]. Everyone who follows the streams combines
// [Bus.Live], which is fast and may lose messages, with [Bus.Read], which is
// complete up to what the answering server holds. An auditor reads the audit
// stream through [Bus.AuditConsumer].
//
// # Guarantees
//
// Publish reports success only for what the stream acknowledged as stored.
// Its errors say which of three cases holds: nothing was stored, nobody knows,
// or it is refused for good; see [Retryable].
//
// Read returns messages in stream order without a hole: a reply that was lost
// on the way ends the batch, a message that the stream no longer has does not.
// Each sequence is confirmed by the server's next reply, so no header that a
// sender stored with its message can move a reader's position.
//
// A stream's epoch is made with the stream and lives as long as it does. Every
// stream starts at the Unix time in microseconds, so the sequences of a re-made
// stream lie beyond those of the former one.
//
// # The caller's duties
//
// Payloads are not verified here: whoever may publish to a live subject can send
// anything to the handler of Live, and a message without an acceptable sequence
// arrives with Seq 0. Read may be answered by a replica that lags, so a complete
// batch is no proof of being up to date. A sender who may publish events can
// store headers that look like a status of the server's and so make Read end, or
// fail, at that position; a reader that knows the stream's end notices.
//
// # Failure
//
// A Bus holds no state that an outage could damage. While the connection is down
// Publish fails at once instead of filling the client's reconnect buffer. All
// methods of Bus are safe for concurrent use; all that block take a context, and
// give up after a few seconds without an answer when it has no deadline.
//
// Tests use a real server from package bustest.
package bus
