package publisher

import "errors"

var (
	// ErrInvalid is returned, wrapped with what is wrong, for an order that makes
	// no sense: no target, an unknown realm, a cutoff in the future.
	ErrInvalid = errors.New("invalid revocation")
	// ErrQueued is returned, together with a Result, when the order is safe in
	// the ledger and the bus has not acknowledged it: not yet in force, will be.
	ErrQueued = errors.New("accepted, but the bus is away: it will be published when it is back")
	// ErrStorage is returned when the ledger could not be written: nothing was
	// accepted.
	ErrStorage = errors.New("the ledger cannot be written")
	// ErrConflict is returned when an idempotency key comes again with another
	// target.
	ErrConflict = errors.New("idempotency key was used for another revocation")
	// ErrNotFound is returned for an id that the publisher does not know.
	ErrNotFound = errors.New("no such revocation")
	// ErrNotReady is returned by Ready, wrapped with the reason.
	ErrNotReady = errors.New("publisher is not ready")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("publisher is closed")
)
