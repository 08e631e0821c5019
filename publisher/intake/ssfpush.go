package intake

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/rescind/rescind/events"
)

// pushDoor receives security events that their transmitters push (RFC 8935).
type pushDoor struct{ s *Server }

const setType = "application/secevent+jwt"

func (pushDoor) name() string { return "ssf" }

func (pushDoor) begin(h http.Header) { h.Set("Cache-Control", "no-store") }

// push is POST /ssf/events. It answers once the event is in the stream, without
// waiting for agents; a second time as the first.
func (d pushDoor) push(w http.ResponseWriter, r *http.Request) error {
	if mediaType(r.Header) != setType {
		return fmt.Errorf("%w: Content-Type must be %s", errMediaType, setType)
	}
	body, err := readBody(w, r, events.MaxTokenBytes+2, false)
	if err != nil {
		return err
	}
	e, err := d.s.readSET(r.Context(), strings.TrimSuffix(strings.TrimSuffix(string(body), "\n"), "\r"), true, r.Header.Values("Authorization"))
	if err != nil {
		return err
	}
	if err := d.s.take(r.Context(), d, e); err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// setProblem is an error of RFC 8935 section 2.3.
type setProblem struct {
	Err         string `json:"err"`
	Description string `json:"description"`
}

func (d pushDoor) fail(w http.ResponseWriter, r *http.Request, err error) {
	c := d.s.explain(w, r, d, err)
	p := setProblem{Err: setInvalid, Description: c.detail}
	if c.status == http.StatusBadRequest {
		p.Err, p.Description = describeSET(err)
	}
	w.Header().Set("Content-Language", "en")
	writeJSON(w, "application/json", c.status, p)
}
