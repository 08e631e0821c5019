// Package audit keeps what a fleet's publishers signed: it reads the audit stream
// into files that show whether anything was lost, added or changed since, and
// checks such files offline.
//
//	r, err := audit.Open(ctx, nc, audit.Config{Keys: subscriber.KeysFile("publishers.jwks")})
//	f, err := audit.OpenFile("/var/lib/rescind/audit.jsonl")
//	defer f.Close()
//	err = r.Run(ctx, f) // until ctx ends
//
//	report, err := audit.Verify("/var/lib/rescind/audit.jsonl", events.DefaultFleet, keys)
//	if !report.OK() { … report.Problems … }
//
// # The file
//
// A [Line] is a JSON object with its members in a fixed order: its number, the
// message's sequence and time in the audit stream, a summary, the signed message
// itself (raw: an event, a receipt or a refusal, never a token), and prev, the SHA-256 of the
// line before, so that
//
//	sed -n 41p audit.jsonl | sha256sum
//
// prints what line 42 has as its prev. The summary follows from the signed message
// alone. FILE.checkpoint says how far the file reaches.
//
// Every message is in the file once, however often the stream has it: publishers
// publish again what a stream has lost. A message that does not verify is recorded
// as rejected. When its key is unknown the keys are asked for again first, and
// while they cannot be had nothing more is recorded; what was recorded under an
// unknown key verifies later, with the right keys.
//
// # What is promised
//
// Lines are on disk before the checkpoint, the checkpoint before the message is
// acknowledged. A crash at any place loses nothing and repeats nothing: the file
// itself says where reading goes on, and half a line is cut off. The durable
// consumer wakes the reader and shows operators how far it is. A stream that was
// lost or rolled back is noticed, and read again from its beginning.
//
// [Verify] names the line where one was removed, added, moved or altered, the
// counters that are missing (a publisher numbers what it sends to each stream), and
// every signature that does not hold. The chain finds damage and tampering with
// parts. Who can rewrite the whole file with its checkpoint cannot forge a
// signature, nor hide a removed event but the last ones of a publisher, yet can
// change the members seq and time, which no publisher has signed. Against that keep
// a copy of the checkpoint elsewhere.
//
// # The caller's duties
//
// One process writes a file; another is refused where the system has flock. Run,
// CatchUp and Close of one [File] must not overlap. Read the stream before its
// messages expire (90 days by default): what expired unread shows in Verify as
// missing counters. Keep the public keys of former days for Verify. The file holds
// names of users: it is made with mode 0600.
//
// # When something fails
//
// Run and Tail wait out every failure of the network, of NATS and of the key
// source. An error of the file ends Run: open it again. A damaged file is not
// appended to: verify it, put it aside, begin another.
//
// The reader's NATS user needs the consumer API of the audit stream, its
// acknowledgements, STREAM.INFO and DIRECT.GET; Tail, Export and CatchUp need the
// last two only.
package audit
