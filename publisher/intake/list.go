package intake

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/publisher"
)

const (
	defaultPage = 50
	maxPage     = 1000
	// maxScanned bounds what one request reads of the ledger for a caller who may
	// see little of it.
	maxScanned = 10_000
)

type page struct {
	Items []answer `json:"items"`
	Next  string   `json:"next,omitempty"`
}

// list is GET /v1/revocations, the newest first.
func (d nativeDoor) list(w http.ResponseWriter, r *http.Request) error {
	c, err := d.reader(r)
	if err != nil {
		return err
	}
	q, err := parameters(r, "limit", "after")
	if err != nil {
		return err
	}
	limit := defaultPage
	if q.Has("limit") {
		if limit, err = strconv.Atoi(q.Get("limit")); err != nil || limit < 1 || limit > maxPage {
			return fmt.Errorf("%w: limit must be 1 to %d", errMalformed, maxPage)
		}
	}
	var after events.EventID
	if q.Has("after") {
		if after, err = events.ParseEventID(q.Get("after")); err != nil {
			return fmt.Errorf("%w: after must be the id of a revocation", errMalformed)
		}
	}
	p, err := d.page(c, after, limit)
	if err != nil {
		return err
	}
	writeJSON(w, "application/json", http.StatusOK, p)
	return nil
}

// page collects what the caller may see. Next is where to go on, which may be
// behind a page with few items or none.
func (d nativeDoor) page(c *Caller, after events.EventID, limit int) (*page, error) {
	p := &page{Items: []answer{}}
	for scanned := 0; scanned < maxScanned; {
		records, err := d.s.pub.Revocations(after, limit)
		if err != nil {
			return nil, err
		}
		for i := range records {
			rec := &records[i]
			after = rec.ID
			if !maySee(c, rec) {
				continue
			}
			if p.Items = append(p.Items, recordOf(rec, receiptOutcome(rec))); len(p.Items) == limit {
				p.Next = after.String()
				return p, nil
			}
		}
		if len(records) < limit {
			return p, nil
		}
		scanned += len(records)
	}
	p.Next = after.String()
	return p, nil
}

// show is GET /v1/revocations/{id}.
func (d nativeDoor) show(w http.ResponseWriter, r *http.Request) error {
	c, err := d.reader(r)
	if err != nil {
		return err
	}
	id, err := events.ParseEventID(r.PathValue("id"))
	if err != nil {
		return publisher.ErrNotFound
	}
	rec, out, err := d.s.pub.Revocation(id)
	if err != nil {
		return err
	}
	if !maySee(c, rec) {
		return publisher.ErrNotFound
	}
	writeJSON(w, "application/json", http.StatusOK, recordOf(rec, out))
	return nil
}

// agents is GET /v1/agents.
func (d nativeDoor) agents(w http.ResponseWriter, r *http.Request) error {
	if _, err := d.reader(r); err != nil {
		return err
	}
	if _, err := parameters(r); err != nil {
		return err
	}
	items := d.s.pub.Agents()
	if items == nil {
		items = []publisher.AgentInfo{}
	}
	writeJSON(w, "application/json", http.StatusOK, struct {
		Items []publisher.AgentInfo `json:"items"`
	}{items})
	return nil
}

// reader authenticates a caller who wants to read.
func (d nativeDoor) reader(r *http.Request) (*Caller, error) {
	c, err := d.s.authenticate(r)
	if err != nil {
		return nil, err
	}
	return c, mayRead(c)
}

// maySee tells whether the caller may see a request: one in realms that it is
// bound to.
func maySee(c *Caller, rec *publisher.Record) bool {
	reader := Caller{Realms: c.Realms}
	return reader.May(rec.Kind, recordRealms(rec)...) == nil
}

func receiptOutcome(rec *publisher.Record) *events.Outcome {
	if rec.Receipt == nil {
		return nil
	}
	return &rec.Receipt.Outcome
}
