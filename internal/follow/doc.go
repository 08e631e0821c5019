// Package follow decides how far a follower of the event streams has got, and
// what it must read next. Agents and publishers both follow; this is the one
// place where positions move.
//
// A [Stream] is a plain state machine: (state, input, now) to (state, [Step]).
// It does no I/O, starts no goroutine and reads no clock, so a simulation can
// run it through any schedule. It is not safe for concurrent use: one loop owns
// it, feeds it what came in, and does what the Step says.
//
// # What a position means
//
// The position is the end of the contiguous prefix that was applied. A live
// message, whose headers anyone allowed to publish on the live subject can
// invent, moves it only if it is the next one and its event is new; all else is
// settled by reading the stream. An event that claimed one sequence live and
// stands at another in the stream took the place of one that may not have come:
// that counts as a lost stream too. Each read begins with the event at the position
// itself and compares its hash: a difference, an end before the position, or a
// new epoch means that the stream was lost or rolled back. Then everything is
// read again and added; nothing that was applied is ever dropped because the
// stream lost it.
//
// # What the owner must do
//
// Apply the messages of a Step before it stores the Step's cursor, or in the
// same transaction. Pass what comes live through [Message.Heard]. Feed
// every watermark that it trusts. Call Tick now and then: a failed read is tried
// again only then.
package follow
