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
// # Reading ahead
//
// A [Reader] asks for what comes next as soon as a read that was cut short has
// ended, before its owner has applied it. That read began before the Fetch that
// it may answer, which is sound for a Fetch without Anew, and for no other:
//
// What a read shows is compared by content (the event at the position, sequences
// that moved live), and content does not depend on when the read began. Three
// things do. A read that is to show that the stream is still the one that was
// followed must begin after the moment that made it doubtful: while the position
// is unverified every Fetch is Anew, and a doubt that comes up while a read is
// under way marks it unsure. What asked for a read, a live message with a gap
// before it or a watermark beyond the position, wants one that begins behind it:
// only the Fetch that goes on where the last read was cut short is without Anew,
// and it leaves such a wish standing, so that a last read follows. A stream that
// was lost is read from its beginning, Anew.
//
// When a read is not unsure it began after the last doubt, so the one that began
// at its end did too. The reader drops a read ahead that the very next Fetch does
// not take, so none is older than the handling of the one before it; a stream that
// goes back meanwhile looks like one that went back just after that read, and is
// found by the doubt that follows. Nor may a read begin behind the event at the
// position (because that one came alone) while the position is unverified: it
// would show nothing of it.
//
// # What the owner must do
//
// Apply the messages of a Step before it stores the Step's cursor, or in the
// same transaction. Pass what comes live through [Message.Heard]. Feed
// every watermark that it trusts. Call Tick now and then: a failed read is tried
// again only then.
package follow
