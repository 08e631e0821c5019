// Package transmit sends a fleet's revocations to receivers outside of it: as a
// Shared Signals transmitter (SSF 1.0), so that anything that can receive CAEP can
// follow them.
//
// A receiver makes a stream and has it delivered by push (RFC 8935) or polls it (RFC
// 8936). Each stream is a durable consumer on the feeds stream of JetStream, where it
// keeps its place and its description, so that every publisher serves every stream
// and none has a state of its own. Events come at least once; a receiver knows a
// repetition by its jti. Pushes of one stream go out one after the other.
//
// What is sent is made of the fleet's own events, verified once more and signed anew
// with RS256. Rules and single tokens are CAEP session-revoked; lists and lifts have
// types of rescind's own, for receivers that ask for them.
//
// The credential that a receiver wants with its pushes is kept encrypted, with a key
// that is derived of the signing key: only publishers can read it. Pushes go to public
// addresses over HTTPS only, unless a prefix is allowed; each address is checked when
// it is connected to.
//
// Package intake has the HTTP doors, and who may knock.
package transmit
