package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
)

type streamsCmd struct {
	Apply streamsApplyCmd `cmd:"" help:"Make the fleet's streams, or mend what is weaker than it must be."`
}

type streamsApplyCmd struct {
	MaxAge   time.Duration `help:"How long events are kept: at least the longest max_session of any realm. Default: 31 days."`
	MaxBytes int64         `help:"Limit of the stream of token lists, in bytes." placeholder:"BYTES"`
	Replicas int           `help:"Copies of each stream: 1, 3 or 5." default:"1"`
}

// Validate is kong's.
func (c *streamsApplyCmd) Validate() error {
	if c.MaxBytes < 0 {
		return errors.New("--max-bytes must not be negative")
	}
	if c.Replicas != 1 && c.Replicas != 3 && c.Replicas != 5 {
		return errors.New("--replicas must be 1, 3 or 5")
	}
	return notNegative("--max-age", c.MaxAge)
}

func (c *streamsApplyCmd) Run(ctx context.Context, g *globals) error {
	nc, err := g.connectOnce()
	if err != nil {
		return err
	}
	defer nc.Close()
	fleet := events.Fleet(g.Fleet)
	s := bus.Settings{MaxAge: c.MaxAge, TokensMaxBytes: c.MaxBytes, Replicas: c.Replicas}
	if err := applyStreams(ctx, nc, fleet, s); err != nil {
		return err
	}
	b, err := bus.New(nc, fleet)
	if err != nil {
		return err
	}
	var states []streamState
	for _, s := range events.EventStreams {
		i, err := b.Info(ctx, s)
		if err != nil {
			return err
		}
		states = append(states, streamState{fleet.StreamName(s), i.Epoch, i.First, i.Last, i.Msgs, i.Bytes, i.MaxBytes})
	}
	return printStreams(g, states)
}

// streamState is what is shown of a stream; an empty one has First = Last + 1.
type streamState struct {
	Name     string `json:"name"`
	Epoch    string `json:"epoch"`
	First    uint64 `json:"first"`
	Last     uint64 `json:"last"`
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
	MaxBytes int64  `json:"max_bytes"`
}

func printStreams(g *globals, states []streamState) error {
	if g.JSON {
		return printJSON(g.std.out, map[string]any{"streams": states})
	}
	w := tabwriter.NewWriter(g.std.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STREAM\tMESSAGES\tLAST\tEPOCH")
	for _, s := range states {
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\n", s.Name, s.Messages, s.Last, s.Epoch)
	}
	return w.Flush()
}

// connectOnce connects for a command that ends at once: it fails when NATS is
// not there.
func (g *globals) connectOnce(more ...nats.Option) (*nats.Conn, error) {
	opts := append([]nats.Option{nats.Name("rescind"), nats.Timeout(5 * time.Second)}, more...)
	reach, err := g.natsOptions()
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(g.Nats, append(opts, reach...)...)
	if err != nil {
		return nil, fmt.Errorf("connecting to NATS at %s: %w%s", redacted(g.Nats), err, connectAdvice(err))
	}
	return nc, nil
}

// connectAdvice says what to do when NATS cannot be had.
func connectAdvice(err error) string {
	alert, refused := errors.AsType[*net.OpError](err) // crypto/tls does not export what the other side says
	switch {
	case errors.Is(err, nats.ErrAuthorization):
		return " (--nats-creds names the credentials of a user)"
	case errors.Is(err, nats.ErrTLS), refused && alert.Op == "remote error":
		return " (--ca names the CA of its certificate, --client-cert and --client-key what to show to it)"
	case errors.Is(err, nats.ErrNoServers):
		return " (does it run? --nats names another)"
	default:
		return ""
	}
}

// redacted is a list of URLs without their passwords.
func redacted(urls string) string {
	list := strings.Split(urls, ",")
	for i, each := range list {
		if u, err := url.Parse(strings.TrimSpace(each)); err == nil {
			list[i] = u.Redacted()
		} else {
			list[i] = "(not a URL)" // nobody knows what is the password in it
		}
	}
	return strings.Join(list, ",")
}
