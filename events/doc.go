// Package events is the vocabulary of a rescind fleet: what publishers and
// agents say to each other, and the one function that decides whether a
// revocation hits a token.
//
// It holds plain data, validation, encoding and subject names. It does no I/O
// and imports nothing else of rescind, so both ends of the bus, and programs
// that only read the audit stream, can share it.
//
// # What travels
//
// A [Revocation] is one event on a stream. It travels as a Security Event Token
// (RFC 8417) signed with EdDSA by a [Signer] and read back by a [KeySet], which
// knows which publisher a key belongs to and which kinds of event it may sign.
// A [Beacon], a [Query], a [Receipt] and a [Refusal] are signed the same way under a
// type of their own, so none can be taken for another. A [Report], a [Status] and an
// [Ask] are plain JSON: agents have no keys, and the bus's permissions say who
// may speak for which agent.
//
// # What decides
//
// [ParseToken] reads a token strictly and derives what revocations are matched
// against: its [Identity], its times, and a hash of each string claim. It does
// not check the signature; that is the caller's business. [Match] tells whether
// one revocation hits one token. Everything else that decides (the denylist's
// index, the counts, the dry run) must agree with Match.
//
// # Reading untrusted bytes
//
// Nothing in this package panics on bad input, keeps a reference to its input,
// or puts a token's text into an error. JSON is scanned once, by a scanner of the
// package's own: names are compared case-sensitively, duplicates among them are
// refused in every object that is read, invalid UTF-8 and halves of surrogate
// pairs anywhere, which encoding/json alone would not do; so is what is nested
// more than 64 deep. All functions are safe for concurrent use; no value is
// modified after it was returned.
package events
