package intake

import (
	"errors"
	"net/http"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/publisher"
)

// answer is a revocation as the native API shows it.
type answer struct {
	ID events.EventID `json:"id"`
	// Status is queued, open or closed.
	Status string `json:"status,omitempty"`
	// Seq is that of the request's first event.
	Seq        uint64           `json:"seq,omitempty"`
	Target     answerTarget     `json:"target"`
	Reason     string           `json:"reason,omitempty"`
	Caller     string           `json:"caller,omitempty"`
	Door       string           `json:"door,omitempty"`
	Initiator  events.Initiator `json:"initiating_entity,omitempty"`
	AcceptedAt *time.Time       `json:"accepted_at,omitempty"`
	NotBefore  int64            `json:"not_before,omitempty"`
	*answerCounts
	Events []events.ReceiptEvent `json:"events"`
	// Expired is how many tokens of the list were left out because they have
	// expired.
	Expired   int    `json:"expired_tokens,omitempty"`
	ElapsedMS *int64 `json:"elapsed_ms,omitempty"`
}

// answerCounts are what is known of a revocation's effect.
type answerCounts struct {
	Invalidated   int                   `json:"invalidated_tokens"`
	Previously    int                   `json:"previously_invalidated_tokens"`
	AtLeast       bool                  `json:"at_least,omitempty"`
	CountsMissing []string              `json:"counts_missing,omitempty"`
	ErrorCount    int                   `json:"error_count"`
	Errors        []events.OutcomeError `json:"error_details,omitempty"`
	Agents        struct {
		Expected int `json:"expected"`
		Applied  int `json:"applied"`
	} `json:"agents"`
}

// answerTarget is a target in the words of a request, without tokens.
type answerTarget struct {
	User    string          `json:"user,omitempty"`
	Session string          `json:"session,omitempty"`
	Client  string          `json:"client,omitempty"`
	Claim   string          `json:"claim,omitempty"`
	Value   string          `json:"value,omitempty"`
	Tokens  int             `json:"tokens,omitempty"`
	All     bool            `json:"all,omitempty"`
	Lift    *events.EventID `json:"lift,omitempty"`
	Realm   string          `json:"realm,omitempty"`
}

func targetOf(kind events.Kind, realm, claim, value string, tokens int) answerTarget {
	t := answerTarget{Realm: realm, Tokens: tokens, All: kind == events.KindAll}
	switch kind {
	case events.KindUser:
		t.User = value
	case events.KindSession:
		t.Session = value
	case events.KindClient:
		t.Client = value
	case events.KindClaim:
		t.Claim, t.Value = claim, value
	}
	return t
}

func countsOf(o *events.Outcome) *answerCounts {
	c := &answerCounts{Invalidated: o.Invalidated, Previously: o.Previously, AtLeast: o.AtLeast, CountsMissing: o.CountsMissing,
		ErrorCount: len(o.Errors), Errors: o.Errors}
	c.Agents.Expected, c.Agents.Applied = o.Expected, len(o.Applied)
	return c
}

// answer answers an order: with done once the stream has it, 202 while the bus
// is away.
func (d nativeDoor) answer(w http.ResponseWriter, done int, res *publisher.Result, err error, o *publisher.Order, expired int) error {
	queued := errors.Is(err, publisher.ErrQueued)
	if err != nil && !queued {
		return err
	}
	elapsed := res.Elapsed.Milliseconds()
	a := answer{ID: res.ID, Reason: o.Reason, NotBefore: res.NotBefore, answerCounts: countsOf(&res.Outcome), Events: res.Events,
		Target: targetOf(o.Target.Kind, o.Target.Realm, o.Target.Claim, o.Target.Value, len(o.Target.Tokens)), Expired: expired,
		ElapsedMS: &elapsed}
	if o.Target.Kind == events.KindLift {
		a.Target.Lift = &o.Target.Lifted
	}
	if len(res.Events) > 0 {
		a.Seq = res.Events[0].Seq
	}
	if queued {
		done, a.Status = http.StatusAccepted, "queued"
		w.Header().Set("Retry-After", retryAfter)
	}
	if res.Replayed {
		w.Header().Set("Idempotency-Replayed", "true")
	}
	w.Header().Set("Location", "/v1/revocations/"+res.ID.String())
	writeJSON(w, "application/json", done, a)
	return nil
}

// recordOf shows a request of the ledger. A nil outcome leaves the counts out.
func recordOf(rec *publisher.Record, out *events.Outcome) answer {
	at := time.UnixMilli(rec.AcceptedAt).UTC()
	a := answer{ID: rec.ID, Status: "open", Reason: rec.Reason, Caller: rec.Caller, Door: rec.Door, Initiator: rec.Initiator,
		AcceptedAt: &at, Target: targetOf(rec.Kind, rec.Realm, rec.Claim, rec.Value, rec.Tokens), Events: rec.Events}
	for _, e := range rec.Events {
		a.NotBefore = max(a.NotBefore, e.NotBefore)
	}
	if len(rec.Events) > 0 {
		a.Seq = rec.Events[0].Seq
	}
	if out != nil {
		a.answerCounts = countsOf(out)
	}
	if rec.Receipt != nil {
		a.Status, a.ElapsedMS = "closed", &rec.Receipt.ElapsedMS
	}
	return a
}

// recordRealms are the realms that a recorded request touched; none means all.
func recordRealms(rec *publisher.Record) []string {
	if rec.Realm == "" {
		return nil
	}
	return []string{rec.Realm}
}
