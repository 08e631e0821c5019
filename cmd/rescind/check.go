package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/subscriber/guard/sidecar"
)

type checkCmd struct {
	Token string `arg:"" help:"The token, - to read it from standard input."`
}

func (c *checkCmd) Run(ctx context.Context, g *globals) error {
	raw, err := g.tokenArg(c.Token)
	if err != nil {
		return err
	}
	if raw == "" || strings.ContainsFunc(raw, notInToken) {
		return usage("that is no token: it is empty, or has blanks in it")
	}
	client, base, err := g.httpClient(g.Agent)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/check", nil)
	if err != nil {
		return usage("--agent: %v", err)
	}
	req.Header.Set("Authorization", "Bearer "+raw)
	res, err := client.Do(req)
	if err != nil {
		// The error of net/http shows the request's header nowhere.
		return exit{exitUnconfirmed, fmt.Sprintf("asking the agent: %v", err)}
	}
	defer res.Body.Close()
	var said struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer)); err == nil && len(b) > 0 {
		_ = json.Unmarshal(b, &said) // an answer without a body is one too
	}
	if res.Header.Get(sidecar.HeaderStatus) == "" {
		return exit{exitUnconfirmed, fmt.Sprintf("what answers at %s (%s) is not an agent", g.Agent, res.Status)}
	}
	return c.print(g, res.StatusCode, said.Description, res.Header)
}

// notInToken tells what cannot stand in an Authorization header.
func notInToken(r rune) bool { return r <= ' ' || r >= 0x7f }

func (c *checkCmd) print(g *globals, status int, why string, h http.Header) error {
	verdict, code := "unknown", exitUnconfirmed
	switch {
	case status == http.StatusUnauthorized:
		verdict, code = "refused", exitFailed
	case status != http.StatusOK:
	case h.Get(sidecar.HeaderStatus) == string(sidecar.StatusStale):
		// It lets the token pass, as it is told to, and may miss a revocation.
		verdict, why = "stale", "not revoked as far as the agent knows, which may be out of date"
	default:
		verdict, code = "live", exitDone
		if h.Get("Rescind-Mode") == "revocation-only" {
			why = "not revoked; this agent verifies no signatures"
		}
	}
	if g.JSON {
		if err := printJSON(g.std.out, map[string]any{"verdict": verdict, "status": status, "reason": why}); err != nil {
			return err
		}
	} else if why != "" {
		fmt.Fprintf(g.std.out, "%s: %s\n", verdict, why)
	} else {
		fmt.Fprintln(g.std.out, verdict)
	}
	if code == exitDone {
		return nil
	}
	return exit{code: code}
}

type statusCmd struct{}

func (c *statusCmd) Run(ctx context.Context, g *globals) error {
	body, err := g.agentsBody(ctx)
	if err != nil {
		return err
	}
	if g.JSON {
		_, err := g.std.out.Write(append(body, '\n'))
		return err
	}
	list, err := parseAgents(body)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(g.std.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "AGENT\tSTATE\tLAG\tENTRIES\tLAST SEEN\tVERSION")
	for _, a := range list {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s ago\t%s\n", a.Name, a.shownState(), a.Lag, a.Entries,
			time.Since(a.LastSeen).Round(time.Second), a.Version)
	}
	err = w.Flush()
	for _, a := range list {
		if a.Disk != "" {
			fmt.Fprintf(g.std.out, "%s cannot write to its disk: %s\n", a.Name, a.Disk)
		}
	}
	return err
}

// agentKnown is an agent as the publisher knows it.
type agentKnown struct {
	Name, Version, Disk string
	State               events.State
	Lag                 uint64
	Entries             int
	Silent, Gone        bool
	LastSeen            time.Time `json:"last_seen"`
}

// What is shown as the state of an agent that said goodbye, and of one that has
// not been heard for a while: its own word is not of now.
const (
	goneState   events.State = "gone"
	silentState events.State = "silent"
)

func (a *agentKnown) shownState() events.State {
	switch {
	case a.Gone:
		return goneState
	case a.Silent:
		return silentState
	default:
		return a.State
	}
}

// agentsBody asks the publisher for the agents that it knows.
func (g *globals) agentsBody(ctx context.Context) ([]byte, error) {
	status, body, err := g.call(ctx, http.MethodGet, "/v1/agents", nil)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, refusal(status, body)
	}
	return body, nil
}

func parseAgents(body []byte) ([]agentKnown, error) {
	var list struct{ Items []agentKnown }
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("the publisher's answer: %w", err)
	}
	return list.Items, nil
}
