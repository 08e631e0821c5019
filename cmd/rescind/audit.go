package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/subscriber/audit"
)

type auditCmd struct {
	Keys string `help:"Publishers' public keys, former ones included, a JWKS file or URL. Default: publishers.jwks in DIR." placeholder:"FILE|URL"`

	Tail   auditTailCmd   `cmd:"" help:"Print events and receipts as they come in."`
	Export auditExportCmd `cmd:"" help:"Write every event and receipt to a file, each once, and go on where it stopped."`
	Verify auditVerifyCmd `cmd:"" help:"Check a file: every line, signature and counter."`
}

func (c *auditCmd) open(ctx context.Context, g *globals, durable string) (*audit.Reader, func(), error) {
	keys, err := keySource(orPath(c.Keys, g.path(jwksFile)))
	if err != nil {
		return nil, nil, err
	}
	log := g.logger()
	nc, err := g.connectOnce()
	if err != nil {
		return nil, nil, err
	}
	r, err := audit.Open(ctx, nc, audit.Config{Fleet: events.Fleet(g.Fleet), Durable: durable, Keys: keys, Logger: log})
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return r, nc.Close, nil
}

type auditTailCmd struct {
	All bool `help:"Begin with the oldest event that the stream has."`
}

func (c *auditTailCmd) Run(ctx context.Context, g *globals, a *auditCmd) error {
	r, closeBus, err := a.open(ctx, g, "")
	if err != nil {
		return err
	}
	defer closeBus()
	from := audit.FromNow
	if c.All {
		from = audit.FromBeginning
	}
	return r.Tail(ctx, from, func(l *audit.Line) error {
		if !g.JSON {
			_, err := fmt.Fprintln(g.std.out, l.String())
			return err
		}
		b, err := json.Marshal(l)
		if err == nil {
			_, err = g.std.out.Write(append(b, '\n'))
		}
		return err
	})
}

type auditExportCmd struct {
	File    string `arg:"" help:"The file to append to; FILE.checkpoint is kept beside it."`
	Follow  bool   `help:"Go on until interrupted."`
	Durable string `help:"Name of the durable consumer that --follow keeps on the server; one for each file." default:"audit"`
}

func (c *auditExportCmd) Run(ctx context.Context, g *globals, a *auditCmd) (err error) {
	r, closeBus, err := a.open(ctx, g, c.Durable)
	if err != nil {
		return err
	}
	defer closeBus()
	f, err := audit.OpenFile(c.File)
	if err != nil {
		return err
	}
	defer func() {
		if closed := f.Close(); err == nil {
			err = closed
		}
	}()
	if c.Follow {
		err = r.Run(ctx, f)
	} else {
		err = r.CatchUp(ctx, f)
	}
	if err != nil {
		return err
	}
	cp := f.Checkpoint()
	if g.JSON {
		return printJSON(g.std.out, cp)
	}
	_, err = fmt.Fprintf(g.std.out, "%s: %d lines\n", c.File, cp.Lines)
	return err
}

type auditVerifyCmd struct {
	File string `arg:"" help:"The file to check."`
}

func (c *auditVerifyCmd) Run(ctx context.Context, g *globals, a *auditCmd) error {
	source, err := keySource(orPath(a.Keys, g.path(jwksFile)))
	if err != nil {
		return err
	}
	keys, err := source.Keys(ctx)
	if err != nil {
		return err
	}
	if _, err := os.Stat(c.File); err != nil {
		return err
	}
	rep, err := audit.Verify(c.File, events.Fleet(g.Fleet), keys)
	if err != nil {
		return err
	}
	if g.JSON {
		err = printJSON(g.std.out, rep)
	} else {
		for _, p := range rep.Problems {
			fmt.Fprintln(g.std.out, p)
		}
		for _, n := range rep.Notes {
			fmt.Fprintln(g.std.out, "note:", n)
		}
		_, err = fmt.Fprintf(g.std.out, "%s: %d lines, %d revocations, %d lifts, %d receipts, %d refusals, %d rejected, %d problems\n",
			c.File, rep.Lines, rep.Revocations, rep.Lifts, rep.Receipts, rep.Refusals, rep.Rejected, rep.ProblemCount)
	}
	if err != nil {
		return err
	}
	if !rep.OK() {
		return exit{code: exitFailed}
	}
	return nil
}
