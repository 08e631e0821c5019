package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// children are what the bench runs in processes of their own, so that nothing
// else counts: it starts itself with the name and arguments.
var children = map[string]func(ctx context.Context, args []string) error{
	"agent": agentChild, "map": mapChild, "nats": natsChild, "open": openChild, "server": serverChild, "ways-out": waysOutChild,
}

// childArg is the first argument of such a process.
const childArg = "--child"

// runChild runs a child when the arguments say so.
func runChild(ctx context.Context, args []string) (ran bool, err error) {
	if len(args) < 2 || args[0] != childArg {
		return false, nil
	}
	child, ok := children[args[1]]
	if !ok {
		return true, fmt.Errorf("there is no child %q", args[1])
	}
	return true, child(ctx, args[2:])
}

// tell is how a child gives its parent a value: one line of JSON.
func tell(v any) error { return json.NewEncoder(os.Stdout).Encode(v) }

// stay returns when the parent lets go of the child.
func stay() error {
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// process is a running program that tells of itself in lines of JSON.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	lines *bufio.Scanner
	err   *lastLines
}

// startChild starts a child of the bench.
func startChild(ctx context.Context, name string, args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return startProcess(ctx, self, append([]string{childArg, name}, args...)...)
}

// startProcess starts a program. It dies with the bench, whatever happens to it.
func startProcess(ctx context.Context, path string, args ...string) (*process, error) {
	p := &process{cmd: exec.CommandContext(ctx, path, args...), err: &lastLines{}}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.cmd.Stderr = p.err
	p.cmd.WaitDelay = time.Second
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	p.lines = bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", filepath.Base(path), err)
	}
	return p, nil
}

// hear reads the next line that the process tells; nil is for one whose content
// does not matter.
func (p *process) hear(v any) error {
	if !p.lines.Scan() {
		return fmt.Errorf("%s said nothing: %s", filepath.Base(p.cmd.Path), p.err.text())
	}
	if v == nil {
		return nil
	}
	return json.Unmarshal(p.lines.Bytes(), v)
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// Close ends the process as an operator would and waits for it.
func (p *process) Close() error {
	_ = p.stdin.Close()
	_ = p.cmd.Process.Signal(os.Interrupt)
	kill := time.AfterFunc(10*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	_ = p.cmd.Wait() // its exit code says only that it was interrupted
	return nil
}

// closeAll closes in reverse.
func closeAll(closers []io.Closer) error {
	var errs []error
	for i := len(closers) - 1; i >= 0; i-- {
		errs = append(errs, closers[i].Close())
	}
	return errors.Join(errs...)
}

// lastLines keeps the end of what is written to it.
type lastLines struct{ b []byte }

func (l *lastLines) Write(b []byte) (int, error) {
	l.b = append(l.b, b...)
	l.b = l.b[max(0, len(l.b)-2048):]
	return len(b), nil
}

func (l *lastLines) text() string { return string(l.b) }
