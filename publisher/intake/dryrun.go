package intake

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/publisher"
)

// dryAnswer is what a revocation would do, without an id: there is none.
type dryAnswer struct {
	Dry         bool                  `json:"dry_run"`
	Target      answerTarget          `json:"target"`
	Invalidated int                   `json:"invalidated_tokens"`
	Previously  int                   `json:"previously_invalidated_tokens"`
	AtLeast     bool                  `json:"at_least,omitempty"`
	Expired     int                   `json:"expired_tokens,omitempty"`
	ErrorCount  int                   `json:"error_count"`
	Errors      []events.OutcomeError `json:"error_details,omitempty"`
	Warnings    []string              `json:"warnings,omitempty"`
	Agents      struct {
		Expected int `json:"expected"`
		Answered int `json:"answered"`
	} `json:"agents"`
	ElapsedMS int64 `json:"elapsed_ms"`
}

// isDryRun reads dry_run of the query string, which orderOf has looked at before.
func isDryRun(r *http.Request) (bool, error) {
	text := r.URL.Query().Get("dry_run")
	if text == "" {
		return false, nil
	}
	dry, err := strconv.ParseBool(text)
	if err != nil {
		return false, fmt.Errorf("%w: dry_run must be true or false", errMalformed)
	}
	return dry, nil
}

// dryRun answers what an order would hit. It takes the same rights as the order, since
// it tells as much, and counts as one of its caller's.
func (d nativeDoor) dryRun(w http.ResponseWriter, r *http.Request, c *Caller, o *publisher.Order, got *resolved) error {
	if err := authorise(c, &o.Target, got.realms); err != nil {
		return err
	}
	if err := d.s.limits.allow(c, events.KindUser); err != nil {
		return err
	}
	begun := time.Now()
	ctx, cancel := context.WithTimeout(r.Context(), o.Timeout)
	defer cancel()
	found, err := d.s.pub.DryRun(ctx, *o)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	a := dryAnswer{Dry: true, Invalidated: found.Invalidated, Previously: found.Previously, AtLeast: found.AtLeast, Expired: got.expired,
		Target: targetOf(o.Target.Kind, o.Target.Realm, o.Target.Claim, o.Target.Value, len(o.Target.Tokens)), ErrorCount: len(found.Silent)}
	for _, name := range found.Silent {
		a.Errors = append(a.Errors, events.OutcomeError{Agent: name, Type: events.AgentSilent, Reason: fmt.Sprintf("no answer within %s", o.Timeout)})
	}
	if found.Untied > 0 && o.Target.Kind.HasCutoff() {
		a.Warnings = append(a.Warnings, fmt.Sprintf("%d of the tokens carry neither sid nor auth_time: whoever has a live session or refresh token at the "+
			"issuer can be issued new ones, which this revocation does not hit; end those too", found.Untied))
	}
	a.Agents.Expected, a.Agents.Answered = found.Asked, max(0, found.Asked-len(found.Silent))
	a.ElapsedMS = time.Since(begun).Milliseconds()
	writeJSON(w, "application/json", http.StatusOK, a)
	return nil
}
