package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
)

func TestAnInterruptAnswersTheQuestion(t *testing.T) {
	nobody, keep := io.Pipe()
	defer keep.Close()
	var asked bytes.Buffer
	g := &globals{std: streams{in: nobody, out: io.Discard, err: &asked}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var e exit
	if err := g.confirm(ctx, "Go on?"); !errors.As(err, &e) || e.code != exitFailed {
		t.Errorf("answered %v, want a refusal", err)
	}
	if asked.String() != "Go on? [y/N] \n" {
		t.Errorf("asked %q", asked.String())
	}
}
