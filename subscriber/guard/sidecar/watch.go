package sidecar

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/subscriber"
)

// watchJSON is the data of a revocation event.
type watchJSON struct {
	ID   events.EventID `json:"id"`
	Kind events.Kind    `json:"kind"`
	// Target says in words what is hit, without naming tokens.
	Target    string `json:"target"`
	NotBefore int64  `json:"not_before,omitempty"`
}

// watch streams revocations as server-sent events until the request or the agent
// ends.
func (s *Sidecar) watch(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	if r.Method == http.MethodHead {
		return // there is nothing that a stream could say
	}
	watch := s.cfg.Agent.Watch()
	defer watch.Close()
	s.metrics.watchers.Inc()
	defer s.metrics.watchers.Dec()
	out := stream{w: w, control: http.NewResponseController(w)}
	if out.comment("watching") != nil {
		return
	}
	heartbeat := time.NewTicker(s.cfg.watchHeartbeat())
	defer heartbeat.Stop()
	for {
		var err error
		select {
		case <-r.Context().Done():
			return
		case <-heartbeat.C:
			err = out.heartbeat(watch)
		case event, open := <-watch.C:
			if !open {
				return
			}
			err = out.revocation(watch, event)
		}
		if err != nil {
			return
		}
	}
}

// patience is how long one write may take before its reader counts as gone.
const patience = 30 * time.Second

// stream writes server-sent events. Each write has a deadline of its own: the
// server's would cut a stream that lives.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func (s *stream) heartbeat(watch *subscriber.Watch) error {
	if err := s.dropped(watch); err != nil {
		return err
	}
	return s.comment("heartbeat")
}

func (s *stream) revocation(watch *subscriber.Watch, r *events.Revocation) error {
	if err := s.dropped(watch); err != nil {
		return err
	}
	data, err := json.Marshal(watchJSON{r.ID, r.Target.Kind, r.Target.String(), r.NotBefore})
	if err != nil {
		return err
	}
	return s.write(fmt.Sprintf("event: revocation\nid: %s\ndata: %s\n\n", r.ID, data))
}

// dropped tells the reader as soon as it is known: it must then check all that
// it holds open.
func (s *stream) dropped(watch *subscriber.Watch) error {
	if !watch.Dropped() {
		return nil
	}
	return s.write("event: dropped\ndata: {}\n\n")
}

func (s *stream) comment(text string) error { return s.write(": " + text + "\n\n") }

func (s *stream) write(text string) error {
	// Not every ResponseWriter has deadlines; one without has none to extend.
	_ = s.control.SetWriteDeadline(time.Now().Add(patience))
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.control.Flush()
}
