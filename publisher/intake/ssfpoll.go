package intake

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

const (
	// pollEvents is how many events are asked for at once.
	pollEvents = 100
	// pollTimeout ends a request. A transmitter that has nothing may keep it waiting
	// until then.
	pollTimeout = 90 * time.Second
	// maxPollAnswer bounds an answer, in bytes.
	maxPollAnswer = 4 << 20
	// pollPause is the least time between two requests to which there was nothing.
	pollPause = time.Second
)

// pollDoor is what comes by polling. It answers nobody.
type pollDoor struct{ pushDoor }

func (pollDoor) name() string { return "ssf_poll" }

// Poll fetches the events of the transmitters that are polled (RFC 8936), until ctx
// ends. It blocks; with none to poll it returns at once. Failures are logged and
// tried again.
func (s *Server) Poll(ctx context.Context) {
	var group errgroup.Group
	for _, t := range s.transmitters.byIssuer {
		if t.Poll.URL != "" {
			group.Go(func() error {
				newPoller(s, t).run(ctx)
				return nil
			})
		}
	}
	_ = group.Wait() // none returns an error
}

// poller polls one transmitter.
type poller struct {
	s      *Server
	from   *transmitter
	client *http.Client
	// host is where the transmitter is.
	host string
	// ack and refused are what the next request says of events that came before.
	ack     []string
	refused map[string]setProblem
}

func newPoller(s *Server, from *transmitter) *poller {
	host := ""
	if u, err := url.Parse(from.Poll.URL); err == nil {
		host = u.Hostname()
	}
	return &poller{s: s, from: from, host: host, refused: map[string]setProblem{}, client: &http.Client{Timeout: pollTimeout,
		// A redirect could lead to a place that nobody configured.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

func (p *poller) run(ctx context.Context) {
	log := p.s.log.With("transmitter", p.from.Issuer)
	idle := rate.NewLimiter(rate.Every(pollPause), 1)
	pause := backoff.NewExponentialBackOff()
	pause.MaxInterval = time.Minute
	failing := false
	for ctx.Err() == nil {
		n, err := p.round(ctx)
		if err == nil {
			p.s.metrics.polls.WithLabelValues("done").Inc()
			if failing {
				log.Info("polling works again")
			}
			failing = false
			pause.Reset()
			if n == 0 {
				_ = idle.Wait(ctx) // ends with ctx, as the loop does
			}
			continue
		}
		if ctx.Err() != nil {
			return
		}
		p.s.metrics.polls.WithLabelValues("failed").Inc()
		if !failing {
			log.Warn("polling fails; it is tried again", "err", err)
		}
		failing = true
		select {
		case <-time.After(pause.NextBackOff()):
		case <-ctx.Done():
		}
	}
}

type pollRequest struct {
	Ack       []string              `json:"ack,omitempty"`
	Errors    map[string]setProblem `json:"setErrs,omitempty"`
	MaxEvents int                   `json:"maxEvents"`
}

// round asks once, does what came, and gives how much that was. An event that could
// not be done now is neither acknowledged nor refused, and will come again.
func (p *poller) round(ctx context.Context) (int, error) {
	sets, err := p.fetch(ctx)
	if err != nil {
		return 0, err
	}
	p.ack, p.refused = nil, map[string]setProblem{}
	var failed error
	for jti, raw := range sets {
		switch err := p.take(withVisit(ctx, p.host), jti, raw); {
		case err == nil:
			p.ack = append(p.ack, jti)
		case errors.Is(err, errMalformed):
			code, description := describeSET(err)
			p.refused[jti] = setProblem{code, description}
		default:
			failed = err
		}
	}
	return len(sets), failed
}

// take does what an event asks for.
func (p *poller) take(ctx context.Context, jti, raw string) error {
	d := pollDoor{pushDoor{p.s}}
	e, err := p.s.readSET(ctx, raw, false, nil)
	switch {
	case err == nil && e.from != p.from:
		err = refuseSET(setIssuer, "iss is not the transmitter that is polled")
	case err == nil && e.JTI != jti:
		err = refuseSET(setInvalid, "the event has another jti")
	case err == nil:
		err = p.s.take(ctx, d, e)
	}
	if errors.Is(err, errMalformed) {
		p.s.refused(ctx, d, err)
		p.s.log.Warn("security event refused", "door", d.name(), "transmitter", p.from.Issuer, "err", err)
	}
	return err
}

func (p *poller) fetch(ctx context.Context) (map[string]string, error) {
	body, err := json.Marshal(pollRequest{p.ack, p.refused, pollEvents})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.from.Poll.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if len(p.refused) > 0 {
		req.Header.Set("Content-Language", "en")
	}
	if path := p.from.Poll.TokenFile; path != "" {
		token, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("token_file: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	res, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the transmitter answers %s", res.Status)
	}
	var answer struct {
		Sets map[string]string `json:"sets"`
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, maxPollAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the transmitter's answer: %w", err)
	case len(data) > maxPollAnswer:
		return nil, fmt.Errorf("the transmitter's answer is longer than %d bytes", maxPollAnswer)
	case json.Unmarshal(data, &answer) != nil || answer.Sets == nil:
		return nil, errors.New("the transmitter's answer has no sets")
	}
	return answer.Sets, nil
}
