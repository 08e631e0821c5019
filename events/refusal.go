package events

import (
	"bytes"
	"fmt"
)

// Refusal is the signed record of requests that a publisher refused because of who
// asked, or because nobody vouches for what they showed. It is stored in the audit
// stream and can be checked offline with the publishers' key set.
//
// What is in it was said by somebody who was refused: only Origin, the times and
// Count are the publisher's own.
type Refusal struct {
	// Origin's Counter numbers the publisher's messages to the audit stream.
	Origin Origin  `json:"publisher"`
	ID     EventID `json:"id"`
	// Door is the protocol, Error the name of the error, Detail what was answered
	// or logged about it.
	Door   string `json:"door"`
	Error  string `json:"error"`
	Detail string `json:"detail,omitempty"`
	// Caller is who asked, "" for somebody who is not known; Remote the network
	// address that the connection came from.
	Caller string `json:"caller,omitempty"`
	Remote string `json:"remote,omitempty"`
	// Kind and Target are what was to be revoked, where the request came so far.
	// A token is named by its identity only.
	Kind   Kind   `json:"kind,omitempty"`
	Realm  string `json:"realm,omitempty"`
	Target string `json:"target,omitempty"`
	// Count is how many requests were refused that differ in no more than Detail
	// and Target, which are the first one's, from First to Last, in Unix milliseconds.
	Count int   `json:"count"`
	First int64 `json:"first"`
	Last  int64 `json:"last"`
}

func (r *Refusal) member(name []byte, v value) error {
	switch string(name) {
	case "publisher":
		return readObject(v, &r.Origin)
	case "id":
		return readEncoded(v, &r.ID)
	case "door":
		return readText(v, &r.Door)
	case "error":
		return readText(v, &r.Error)
	case "detail":
		return readText(v, &r.Detail)
	case "caller":
		return readText(v, &r.Caller)
	case "remote":
		return readText(v, &r.Remote)
	case "kind":
		return readText(v, &r.Kind)
	case "realm":
		return readText(v, &r.Realm)
	case "target":
		return readText(v, &r.Target)
	case "count":
		return readInt(v, &r.Count)
	case "first":
		return readInt(v, &r.First)
	case "last":
		return readInt(v, &r.Last)
	}
	return nil
}

// SignRefusal signs a refusal by the publisher whose public URL is issuer, with iat
// now in Unix seconds. It refuses one longer than MaxEventBytes.
func (s *Signer) SignRefusal(fleet Fleet, issuer string, now int64, r *Refusal) ([]byte, error) {
	return s.signMessage(typeRefusal, claims{issuer, fleet, now, r})
}

// OpenRefusal verifies a refusal. The errors are those of Open.
func (k *KeySet) OpenRefusal(fleet Fleet, raw []byte) (*Refusal, error) {
	r := new(Refusal)
	if _, err := k.openMessage(typeRefusal, fleet, raw, r, &r.Origin); err != nil {
		return nil, err
	}
	if r.ID.IsZero() || r.Count < 1 {
		return nil, fmt.Errorf("%w: refusal without an id or a count", ErrMalformed)
	}
	return r, nil
}

// IsRefusal tells whether the header of raw says that it is a refusal. It verifies
// nothing.
func IsRefusal(raw []byte) bool {
	d := newDocument()
	defer d.release()
	head, _, _ := bytes.Cut(raw, []byte{'.'})
	h, err := parseHeader(d, head)
	return err == nil && h.typ == typeRefusal
}
