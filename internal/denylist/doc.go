// Package denylist is the set of standing revocations: an index in memory that
// answers whether a token is refused, a file from which it is restored, and the
// expiry that keeps both small. Agents keep one in a file, publishers keep one
// in memory only.
//
// # Use
//
// [Open] loads the set. [Set.Stage] takes events as they come, in any order and
// as often as they come, and makes them visible to [Set.Check] before it
// returns. [Set.Commit] makes everything staged so far durable, positions and
// records in one transaction; only then may anyone be told that it is kept. A
// Set that has not been committed loses what was staged, never part of a
// transaction: it resumes from the older positions, and staging again what it
// has already is harmless.
//
// # Guarantees
//
// The set is a union by event id, and a verdict is what [events.Match] says of
// the events that stand: those that are known and that no known lift names.
// Order, duplicates, commits and restarts change neither verdicts nor
// [Set.Digest]. A lift takes away the one event it names, whichever of the two
// comes first, for as long as the lift itself is kept. A lift cannot be lifted.
//
// Check takes no lock, does no I/O and allocates nothing. It may run beside
// everything else: an entry that stands while Check runs is never missed,
// neither when a table grows nor when another entry is removed. A table without
// entries costs nothing; a token that is not revoked costs one cache line in
// most cases. An identity costs 16 to 24 bytes of memory, an event 40 to 75 more
// for its id, a rule about 90 more; with Path "" every record is kept besides.
// Large tables ask the system for huge pages.
//
// # The caller's duties
//
// One goroutine stages at a time (several are safe, but the order of positions
// is theirs). Commit, Expire and Reevaluate may run in other goroutines, and
// wait for each other; Stage and Check do not wait for the disk, but for the
// reading of a record that a lift takes away. Slices in what is staged belong to
// the set from then on.
//
// Nothing expires by itself: [Set.Expire] drops the hours that have passed at
// the time it is given, so a caller that does not trust its clock passes an
// earlier time, or none. Open drops nothing.
//
// # Failure
//
// The file is a cache of the streams. Open reads all of it, on all cores, and
// compares every checksum, count and digest; a file with anything wrong with it (empty, cut
// off, damaged, of another format or fleet) is renamed to NAME.damaged-TIME, a
// new one is made, and [Set.Recovered] says why: the set is then empty, without
// positions and not [Set.Synced]. A file that does not exist is made, which is
// not damage. A file that cannot be read or written is an error, and one that
// another process holds is [ErrLocked].
//
// When Commit fails, the index goes on refusing, everything stays staged and
// the next Commit tries again, after opening the file anew unless the disk was
// merely full. A file that is found damaged then, or was taken away, is
// [ErrDamaged] for good: the set enforces what it knows, and whoever opens it
// again gets a new file. What cannot be read back cannot be lifted or expired:
// it goes on being refused until it can.
//
// # Testing
//
// A Set with Path "" behaves the same but for durability.
package denylist
