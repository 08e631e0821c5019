package events

import "fmt"

// Receipt is the signed answer to one request: what was revoked, by whom, how
// many tokens that hit, which agents applied it and when, and who did not. It is
// stored in the audit stream and can be checked offline with the publishers' key
// set.
type Receipt struct {
	// Origin's Counter numbers the publisher's messages to the audit stream.
	Origin Origin `json:"publisher"`
	// ID is the request's id, the txn of its events.
	ID     EventID        `json:"id"`
	Events []ReceiptEvent `json:"events"`
	// Caller is who asked, Door the protocol they used.
	Caller string `json:"caller"`
	Door   string `json:"door"`
	Reason string `json:"reason,omitempty"`
	// AcceptedAt is when the request was accepted, in Unix milliseconds;
	// ElapsedMS how long after that the receipt was closed.
	AcceptedAt int64 `json:"accepted_at"`
	ElapsedMS  int64 `json:"elapsed_ms"`
	Outcome
}

func (r *Receipt) member(name []byte, v value) error {
	switch string(name) {
	case "publisher":
		return readObject(v, &r.Origin)
	case "id":
		return readEncoded(v, &r.ID)
	case "events":
		return readList(v, &r.Events, readBody)
	case "caller":
		return readText(v, &r.Caller)
	case "door":
		return readText(v, &r.Door)
	case "reason":
		return readText(v, &r.Reason)
	case "accepted_at":
		return readInt(v, &r.AcceptedAt)
	case "elapsed_ms":
		return readInt(v, &r.ElapsedMS)
	}
	return r.Outcome.member(name, v)
}

// ReceiptEvent is one of a request's events.
type ReceiptEvent struct {
	ID EventID `json:"id"`
	// Seq is its sequence in Stream; 0 when the stream has not acknowledged it.
	Stream Stream `json:"stream"`
	Seq    uint64 `json:"seq,omitempty"`
	// Target is the target in words, NotBefore its cutoff.
	Target    string `json:"target"`
	NotBefore int64  `json:"not_before,omitempty"`
}

func (e *ReceiptEvent) member(name []byte, v value) error {
	switch string(name) {
	case "id":
		return readEncoded(v, &e.ID)
	case "stream":
		return readText(v, &e.Stream)
	case "seq":
		return readUint(v, &e.Seq)
	case "target":
		return readText(v, &e.Target)
	case "not_before":
		return readInt(v, &e.NotBefore)
	}
	return nil
}

// Outcome is what is known of a request's effect at one time.
type Outcome struct {
	// Invalidated tokens are refused since this request; Previously were refused
	// already. A token that several agents have seen counts once.
	Invalidated int `json:"invalidated_tokens"`
	Previously  int `json:"previously_invalidated_tokens"`
	// AtLeast marks counts that may be too low because an agent's memory or its
	// report was full.
	AtLeast bool `json:"at_least,omitempty"`
	// CountsMissing names the agents that have applied it but whose counts were
	// lost: the counts are too low by what these would have said.
	CountsMissing []string `json:"counts_missing,omitempty"`
	// Expected and Applied count agents.
	Expected int           `json:"expected"`
	Applied  []Application `json:"applied"`
	// Errors are the agents that failed or have not answered.
	Errors []OutcomeError `json:"error_details,omitempty"`
	// Complete tells that every expected agent has applied it.
	Complete bool `json:"complete"`
}

func (o *Outcome) member(name []byte, v value) error {
	switch string(name) {
	case "invalidated_tokens":
		return readInt(v, &o.Invalidated)
	case "previously_invalidated_tokens":
		return readInt(v, &o.Previously)
	case "at_least":
		return readBool(v, &o.AtLeast)
	case "counts_missing":
		return readTexts(v, &o.CountsMissing)
	case "expected":
		return readInt(v, &o.Expected)
	case "applied":
		return readList(v, &o.Applied, readBody)
	case "error_details":
		return readList(v, &o.Errors, readBody)
	case "complete":
		return readBool(v, &o.Complete)
	}
	return nil
}

// Application says when an agent's report of having applied the request came in,
// in milliseconds after its acceptance.
type Application struct {
	Agent   string `json:"agent"`
	AfterMS int64  `json:"after_ms"`
}

func (a *Application) member(name []byte, v value) error {
	switch string(name) {
	case "agent":
		return readText(v, &a.Agent)
	case "after_ms":
		return readInt(v, &a.AfterMS)
	}
	return nil
}

// The types of an OutcomeError.
const (
	// AgentSilent: no report within the time.
	AgentSilent = "agent_silent"
	// AgentFault: the agent reported an error with the event.
	AgentFault = "agent_fault"
	// AgentMissing: fewer agents of a service than the configuration expects.
	AgentMissing = "agent_missing"
	// AgentDuplicate: two agents report under one name.
	AgentDuplicate = "agent_duplicate"
)

// OutcomeError is one agent's failure.
type OutcomeError struct {
	Agent  string `json:"agent"`
	Type   string `json:"type"`
	Reason string `json:"reason"`
}

func (e *OutcomeError) member(name []byte, v value) error {
	switch string(name) {
	case "agent":
		return readText(v, &e.Agent)
	case "type":
		return readText(v, &e.Type)
	case "reason":
		return readText(v, &e.Reason)
	}
	return nil
}

// SignReceipt signs a receipt of the publisher whose public URL is issuer, with
// iat now in Unix seconds. It refuses one longer than MaxReceiptBytes.
func (s *Signer) SignReceipt(fleet Fleet, issuer string, now int64, r *Receipt) ([]byte, error) {
	return s.signMessage(typeReceipt, claims{issuer, fleet, now, r})
}

// OpenReceipt verifies a receipt. The errors are those of Open.
func (k *KeySet) OpenReceipt(fleet Fleet, raw []byte) (*Receipt, error) {
	r := new(Receipt)
	if _, err := k.openMessage(typeReceipt, fleet, raw, r, &r.Origin); err != nil {
		return nil, err
	}
	if r.ID.IsZero() {
		return nil, fmt.Errorf("%w: receipt without an id", ErrMalformed)
	}
	return r, nil
}
