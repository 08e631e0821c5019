package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/text"
)

// maxText is the longest text of a summary, in bytes.
const maxText = 2048

// digest names a message by its bytes. Not by its event id: an id that is not
// verified yet could be another event's, and hide it.
type digest [16]byte

func digestOf(raw []byte) digest {
	sum := sha256.Sum256(raw)
	return digest(sum[:16])
}

// digest is that of the message that the line records.
func (l *Line) digest() digest {
	if l.RawSHA256 != nil {
		return digest(l.RawSHA256[:16])
	}
	return digestOf([]byte(l.Raw))
}

// describe verifies a message and gives the members that follow from it. The
// reader that writes a line and the verifier that checks it both call it, so
// neither can know of a member that the other forgets. The error is why the
// message was refused; the line then says so.
func describe(keys *events.KeySet, fleet events.Fleet, raw []byte) (Line, error) {
	r, _, err := keys.Open(fleet, raw)
	if err == nil {
		return describeEvent(r, raw), nil
	}
	// What is well-formed under one type is malformed under the others.
	if errors.Is(err, events.ErrMalformed) {
		var receipt *events.Receipt
		if receipt, err = keys.OpenReceipt(fleet, raw); err == nil {
			return describeReceipt(receipt, raw), nil
		}
	}
	if errors.Is(err, events.ErrMalformed) {
		var refusal *events.Refusal
		if refusal, err = keys.OpenRefusal(fleet, raw); err == nil {
			return describeRefusal(refusal, raw), nil
		}
	}
	return rejected(raw, events.Reason(err)), err
}

func describeEvent(r *events.Revocation, raw []byte) Line {
	t := TypeRevocation
	if r.Target.Kind == events.KindLift {
		t = TypeLift
	}
	return Line{Type: t, ID: r.ID, Txn: r.Txn, Publisher: r.Origin.Publisher, Incarnation: r.Origin.Incarnation,
		Counter: r.Origin.Counter, Stream: r.Target.Kind.Stream(), Kind: r.Target.Kind, Target: clip(r.Target.String()),
		Realm: clip(r.Target.Realm), Reason: clip(r.Reason), Initiator: r.Initiator, NotBefore: r.NotBefore,
		Expires: r.Expires, Verified: true, Raw: string(raw)}
}

func describeReceipt(r *events.Receipt, raw []byte) Line {
	targets := make([]string, len(r.Events))
	for i := range r.Events {
		targets[i] = r.Events[i].Target
	}
	return Line{Type: TypeReceipt, ID: r.ID, Txn: r.ID, Publisher: r.Origin.Publisher,
		Incarnation: r.Origin.Incarnation, Counter: r.Origin.Counter, Stream: events.Audit,
		Target: clip(strings.Join(targets, "; ")), Reason: clip(r.Reason), Caller: clip(r.Caller), Door: clip(r.Door),
		Counts:   &Counts{r.Invalidated, r.Previously, r.AtLeast, r.Expected, len(r.Applied), len(r.Errors), r.Complete},
		Verified: true, Raw: string(raw)}
}

func describeRefusal(r *events.Refusal, raw []byte) Line {
	return Line{Type: TypeRefusal, ID: r.ID, Publisher: r.Origin.Publisher, Incarnation: r.Origin.Incarnation,
		Counter: r.Origin.Counter, Stream: events.Audit, Kind: events.Kind(clip(string(r.Kind))), Target: clip(r.Target),
		Realm: clip(r.Realm), Caller: clip(r.Caller), Door: clip(r.Door), Error: clip(r.Error), Detail: clip(r.Detail),
		Remote: clip(r.Remote), Requests: r.Count, Since: r.First, Verified: true, Raw: string(raw)}
}

// rejected is the line of a message that was refused for the reason. A token
// that someone published by mistake must not end up in a file.
func rejected(raw []byte, reason string) Line {
	l := Line{Type: TypeRejected, Problem: reason}
	if isOurs(raw) {
		l.Raw = string(raw)
		return l
	}
	sum := Hash(sha256.Sum256(raw))
	l.RawBytes, l.RawSHA256 = len(raw), &sum
	return l
}

// isOurs tells whether raw has the form of a JWS whose header says that it is an
// event, a receipt or a refusal.
func isOurs(raw []byte) bool {
	if len(raw) > events.MaxReceiptBytes || bytes.ContainsFunc(raw, notInJWS) {
		return false
	}
	head, _, _ := strings.Cut(string(raw), ".")
	decoded, err := base64.RawURLEncoding.DecodeString(head)
	var h struct{ Typ string }
	return err == nil && json.Unmarshal(decoded, &h) == nil &&
		(h.Typ == "secevent+jwt" || h.Typ == "rescind-receipt+jwt" || h.Typ == "rescind-refusal+jwt")
}

func notInJWS(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
}

// parkable tells whether a message refused for the reason may verify later.
func parkable(reason string) bool {
	return reason == events.Reason(events.ErrUnknownKey) || reason == events.Reason(events.ErrUnsupported)
}

// clip is a text as a summary has it.
func clip(s string) string { return text.Clip(s, maxText) }
