package transmit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"code.dny.dev/ssrf"
	"github.com/cenkalti/backoff/v5"

	"github.com/rescind/rescind/internal/bus"
)

const (
	// pushTimeout ends a push.
	pushTimeout = 10 * time.Second
	// lookEvery is how often streams that another publisher has made are found.
	lookEvery = 5 * time.Second
	// longestPause is the longest time until a push that failed is tried again.
	longestPause = 5 * time.Minute
	// maxPushAnswer bounds what is read of an answer, in bytes.
	maxPushAnswer = 64 << 10
)

// guardian refuses special addresses: loopback, private, link-local.
func (t *Transmitter) guardian() *ssrf.Guardian {
	var v4, v6 []netip.Prefix
	for _, p := range t.cfg.AllowedPrefixes {
		if p.Addr().Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
	}
	return ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...))
}

// newClient checks each address that it connects to, after names were resolved, goes
// through no proxy and follows no redirect.
func (t *Transmitter) newClient() *http.Client {
	dialer := &net.Dialer{Timeout: pushTimeout, Control: t.guardian().Safe}
	return &http.Client{Timeout: pushTimeout, Transport: &http.Transport{DialContext: dialer.DialContext, ForceAttemptHTTP2: true,
		MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: pushTimeout},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// checkEndpoint refuses an endpoint that would not be connected to, so that its
// receiver hears of it.
func (t *Transmitter) checkEndpoint(ctx context.Context, endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || len(endpoint) > maxURI {
		return fmt.Errorf("%w: delivery: endpoint_url is not a URL, or one with a password or a fragment", ErrInvalid)
	}
	ctx, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil || len(addrs) == 0 {
		return fmt.Errorf("%w: delivery: the host of endpoint_url is not known", ErrInvalid)
	}
	g, allowed := t.guardian(), true
	for _, a := range addrs {
		a = a.Unmap()
		if g.SafeAddr(a) != nil {
			return fmt.Errorf("%w: delivery: endpoint_url leads to an address that pushes may not go to", ErrInvalid)
		}
		allowed = allowed && slices.ContainsFunc(t.cfg.AllowedPrefixes, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !allowed) {
		return fmt.Errorf("%w: delivery: endpoint_url must be https", ErrInvalid)
	}
	return nil
}

// Run pushes events to the receivers that want that, until ctx ends. Publishers share
// the work. It blocks; failures are logged and tried again.
func (t *Transmitter) Run(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	working := map[string]context.CancelFunc{}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if all, err := t.Streams(ctx); err == nil {
			t.look(ctx, all, working, &group)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.kick:
			// What has changed is begun anew.
			for id, cancel := range working {
				cancel()
				delete(working, id)
			}
		case <-tick.C:
		}
	}
}

// look begins to push what is to be pushed, and ends the rest.
func (t *Transmitter) look(ctx context.Context, all []*Stream, working map[string]context.CancelFunc, group *sync.WaitGroup) {
	wanted := map[string]bool{}
	for _, s := range all {
		if s.Method != Push || s.Status != Enabled {
			continue
		}
		wanted[s.ID] = true
		if working[s.ID] == nil {
			one, cancel := context.WithCancel(ctx)
			working[s.ID] = cancel
			group.Go(func() { t.push(one, s.ID) })
		}
	}
	for id, cancel := range working {
		if !wanted[id] {
			cancel()
			delete(working, id)
		}
	}
}

// push sends a stream's events, one after the other.
func (t *Transmitter) push(ctx context.Context, id string) {
	for ctx.Err() == nil {
		f, s, err := t.find(ctx, id)
		if errors.Is(err, ErrNotFound) {
			return
		}
		if err == nil {
			err = t.pushNext(ctx, f, s)
		}
		if err != nil && ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-time.After(lookEvery):
			}
		}
	}
}

// pushNext sends the next event. The stream is looked up anew for each: a receiver
// that changes it means the next one.
func (t *Transmitter) pushNext(ctx context.Context, f *bus.Feed, s *Stream) error {
	waiting, cancel := context.WithTimeout(ctx, pollFor)
	defer cancel()
	msgs, err := f.Fetch(waiting, 1)
	if waiting.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	for _, m := range msgs {
		if out := t.outgoing(s, m); out != nil {
			t.deliver(ctx, s, m, out)
		}
	}
	return nil
}

// deliver pushes an event. One that the receiver refuses for good is done with; what
// fails is tried again, later each time, until ctx ends: then whoever fetches the
// event next goes on. It is kept meanwhile, since what comes behind it must wait.
func (t *Transmitter) deliver(ctx context.Context, s *Stream, m *bus.FeedMessage, out *outgoing) {
	log := t.log.With("stream", s.ID, "owner", s.Owner, "jti", out.jti)
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = time.Second, longestPause
	for {
		again, err := t.post(ctx, s, out.raw)
		if err == nil {
			t.sent.WithLabelValues("push", "delivered").Inc()
			t.acknowledge(s, m)
			return
		}
		if !again {
			t.sent.WithLabelValues("push", "refused").Inc()
			log.Warn("a receiver refuses an event", "err", err)
			t.acknowledge(s, m)
			return
		}
		t.sent.WithLabelValues("push", "failed").Inc()
		wait := pause.NextBackOff()
		log.Warn("a push fails; it is tried again", "again_in", wait.Round(time.Millisecond), "err", err)
		if !t.hold(ctx, m, wait) {
			if err := m.Nak(); err != nil {
				log.Warn("an event was not given back: it comes again by itself", "err", err)
			}
			return
		}
	}
}

// hold keeps a message for a while, and tells whether ctx has not ended.
func (t *Transmitter) hold(ctx context.Context, m *bus.FeedMessage, wait time.Duration) bool {
	over := time.NewTimer(wait)
	defer over.Stop()
	keep := time.NewTicker(pushTimeout / 2)
	defer keep.Stop()
	for {
		select {
		case <-over.C:
			return ctx.Err() == nil && m.Working() == nil
		case <-keep.C:
			if m.Working() != nil {
				return false // another publisher will be given it
			}
		case <-ctx.Done():
			return false
		}
	}
}

// post sends a SET (RFC 8935 section 2). again tells whether another attempt may
// help: 400 is the receiver's verdict on the event.
func (t *Transmitter) post(ctx context.Context, s *Stream, set string) (again bool, err error) {
	// What is on its way when the publisher stops is not cut off.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pushTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.Endpoint, strings.NewReader(set))
	if err != nil {
		return true, err
	}
	req.Header.Set("Content-Type", "application/secevent+jwt")
	req.Header.Set("Accept", "application/json")
	if s.Authorization != "" {
		req.Header.Set("Authorization", s.Authorization)
	}
	res, err := t.client.Do(req)
	if err != nil {
		return true, err
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxPushAnswer)) // only says why
	switch {
	case res.StatusCode/100 == 2:
		return false, nil
	case res.StatusCode == http.StatusBadRequest:
		return false, fmt.Errorf("%s: %s", res.Status, describe(body))
	}
	return true, errors.New(res.Status)
}

// describe gives what of a receiver's error can be read.
func describe(body []byte) string {
	var e struct {
		Err         string `json:"err"`
		Description string `json:"description"`
	}
	if json.Unmarshal(body, &e) != nil || e.Err == "" {
		return "without a reason"
	}
	text := e.Err + ": " + e.Description
	return text[:min(len(text), maxDescription)]
}
