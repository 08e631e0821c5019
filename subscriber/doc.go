// Package subscriber is the agent: it follows a fleet's revocations, keeps them
// in a local set, and tells within a microsecond and without I/O whether a token
// is revoked.
//
//	agent, err := subscriber.Open(ctx, nc, subscriber.Config{
//		Service: "payments", Dir: "/var/lib/rescind", Keys: subscriber.KeysFile("publishers.jwks"),
//	})
//	defer agent.Close()
//	tok, err := events.ParseToken(raw) // after the signature was verified
//	err = agent.Check(tok)             // nil, ErrRevoked, ErrStale or ErrNotReady
//
// # What it promises
//
// An event that arrives is in force in memory before it is on disk, and on disk
// before it is reported: a report is evidence that this agent refuses, and goes
// on refusing after a restart. An event that did not arrive is found by its
// absence: positions are contiguous, every beacon of a publisher says how far the
// streams reach, and what is missing is read from them. The agent never drops an
// entry because a stream lost it.
//
// # When the network is gone
//
// Check goes on deciding from what is held. [Agent.Status] and the metrics say
// that the agent is stale; a service that would rather refuse than decide from
// old knowledge sets MaxStaleness, for all or for some of its routes. Until it
// has held a complete set once, and while it rebuilds a lost file, the agent
// knows nothing: Check answers ErrNotReady unless AllowUnsynced is set.
//
// # The caller's duties
//
// Verify a token's signature, issuer and times before it is checked, and refuse
// what [events.ParseToken] refuses. Call [Agent.Observe] for tokens that were
// verified, or counts will be too low. Give each agent a directory of its own.
// The connection stays the caller's: Close does not close it. Use one that
// reconnects for ever (nats.MaxReconnects(-1)).
package subscriber
