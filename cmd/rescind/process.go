package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is one of the demo's own processes: this program, run again.
type process struct {
	name string
	cmd  *exec.Cmd
	// url is where it said that it is up.
	url  string
	done chan struct{}

	mu  sync.Mutex
	log []string
}

// upLine is how a server says where it is.
var upLine = regexp.MustCompile(` is up at ([a-z]+://[^,\s]+)`)

// startTime bounds how long a process takes until it says where it is.
const startTime = 20 * time.Second

// keptLines are the last lines of a process's log, shown when it fails.
const keptLines = 20

// startProcess runs this program with the arguments and waits until it is up.
func startProcess(ctx context.Context, name string, args ...string) (*process, error) {
	cmd, err := selfCommand(ctx, args...)
	if err != nil {
		return nil, err
	}
	p := &process{name: name, cmd: cmd, done: make(chan struct{})}
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = shutdownTime
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	up := make(chan string, 1)
	var readers sync.WaitGroup
	readers.Go(func() { p.read(stdout, up) })
	readers.Go(func() { p.read(stderr, nil) })
	go func() {
		readers.Wait()
		_ = p.cmd.Wait() // a process that was killed has an error, and no news
		close(p.done)
	}()
	select {
	case p.url = <-up:
		return p, nil
	case <-p.done:
		return nil, fmt.Errorf("%s ended at once:\n%s", name, p.tail())
	case <-time.After(startTime):
		return nil, errors.Join(fmt.Errorf("%s did not come up:\n%s", name, p.tail()), p.kill())
	}
}

// selfCommand is this program with other arguments, and nothing of the user's
// configuration: a demo does what its flags say.
func selfCommand(ctx context.Context, args ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, append([]string{"--config", os.DevNull}, args...)...)
	cmd.Env = cleanEnv()
	return cmd, nil
}

// cleanEnv is the environment without rescind's own variables.
func cleanEnv() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "RESCIND_") {
			env = append(env, v)
		}
	}
	return env
}

func (p *process) read(r io.Reader, up chan<- string) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		if m := upLine.FindStringSubmatch(line); m != nil && up != nil {
			select {
			case up <- m[1]:
			default:
			}
		}
		p.mu.Lock()
		p.log = append(p.log, line)
		p.log = p.log[max(0, len(p.log)-keptLines):]
		p.mu.Unlock()
	}
}

func (p *process) tail() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return "  " + strings.Join(p.log, "\n  ")
}

// kill ends the process as a crash would, and waits for its end.
func (p *process) kill() error {
	err := p.cmd.Process.Kill()
	<-p.done
	return err
}

// stop asks the process to end, and waits for its end.
func (p *process) stop() error {
	select {
	case <-p.done:
		return nil
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(shutdownTime):
		return p.kill()
	}
}
