package intake

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/publisher"
)

// MaxLines is how many tokens a list of POST /v1/revocations may have that is sent as
// lines, one JSON object each. It is read as it comes in.
const MaxLines = 100_000

const (
	// maxLineBytes is the longest line: a token and what surrounds it.
	maxLineBytes  = events.MaxTokenBytes + 1<<10
	maxLinesBytes = 512 << 20
	// linesTimeout is how long a list may take to come in.
	linesTimeout = 5 * time.Minute
	// linesAtOnce is how many lines are checked on all cores before more are read.
	linesAtOnce = 1024
)

// line is one line of a list, and what came of checking it.
type line struct {
	number  int // from 1
	text    []byte
	token   publisher.Token
	expired bool
	// wrong says what is wrong with it.
	wrong *fieldError
}

// lines reads a list that is sent as lines. Nothing is published before all of them
// were read and are right.
func (d nativeDoor) lines(w http.ResponseWriter, r *http.Request, c *Caller, _ *publisher.Order) (*resolved, error) {
	if err := mayTry(c, events.KindTokens); err != nil {
		return nil, err
	}
	if r.Header.Get("Content-Encoding") != "" {
		return nil, fmt.Errorf("%w: Content-Encoding must not be set", errMediaType)
	}
	// Not every ResponseWriter has deadlines; then that of the server holds.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(linesTimeout))
	in := bufio.NewScanner(http.MaxBytesReader(w, r.Body, maxLinesBytes))
	in.Buffer(make([]byte, 0, 4<<10), maxLineBytes)
	got := newResolved(events.KindTokens)
	for number, more := 0, true; more; {
		var some []line
		for len(some) < linesAtOnce {
			if more = in.Scan(); !more {
				break
			}
			if number++; number > MaxLines {
				return nil, fmt.Errorf("%w: more than %d lines", errTooLarge, MaxLines)
			}
			if text := bytes.TrimSpace(in.Bytes()); len(text) > 0 {
				some = append(some, line{number: number, text: bytes.Clone(text)})
			}
		}
		if err := d.checkLines(r.Context(), some); err != nil {
			return nil, err
		}
		if err := got.addLines(some); err != nil {
			return nil, err
		}
	}
	if err := in.Err(); err != nil {
		return nil, lineError(err)
	}
	if len(got.target.Tokens)+got.expired == 0 {
		return nil, fmt.Errorf("%w: there is no line", errMalformed)
	}
	return got.finish(nil)
}

func lineError(err error) error {
	if errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("%w: a line is longer than %d bytes", errTooLarge, maxLineBytes)
	}
	return bodyError(err)
}

// checkLines checks lines on all cores. Its error is no verdict on any of them.
func (d nativeDoor) checkLines(ctx context.Context, some []line) error {
	var group errgroup.Group
	now, workers := time.Now(), runtime.GOMAXPROCS(0)
	for n := range workers {
		group.Go(func() error {
			for i := n; i < len(some); i += workers {
				if err := some[i].check(ctx, d, now); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// check gives no verdict with an error.
func (l *line) check(ctx context.Context, d nativeDoor, now time.Time) error {
	raw, id, err := parseLine(l.text)
	if err != nil {
		l.isWrong(strings.TrimPrefix(err.Error(), "body: "), nil)
		return nil
	}
	if raw == "" {
		var why string
		if l.token, l.expired, _, why = d.identity(id, now); why != "" {
			l.isWrong(why, nil)
		}
		return nil
	}
	l.token, err = d.s.accessToken(ctx, raw)
	switch {
	case errors.Is(err, errExpiredToken):
		l.expired = true
	case errors.Is(err, errUnknownToken):
		l.isWrong(strings.TrimPrefix(err.Error(), errUnknownToken.Error()+": "), err)
	default:
		return err
	}
	return nil
}

func (l *line) isWrong(what string, cause error) {
	l.wrong = &fieldError{Pointer: pointer(strconv.Itoa(l.number - 1)), Detail: fmt.Sprintf("line %d: %s", l.number, what), cause: cause}
}

// parseLine reads {"token":…} or {"iss":…,"jti":…,"exp":…}, of which exp may be
// missing. raw is "" for the latter.
func parseLine(line []byte) (raw string, id identityRequest, err error) {
	members, err := readObject(line)
	if err != nil {
		return "", id, err
	}
	if len(members) == 1 && members[0].name == "token" {
		if err := text(&members[0], events.MaxTokenBytes, &raw); err != nil {
			return "", id, fmt.Errorf("token: %w", err)
		}
		return raw, id, nil
	}
	id, err = identityOf(members)
	return "", id, err
}

// addLines puts checked lines on the list. Its error tells of the first that are
// wrong: it is not worth while to read on.
func (g *resolved) addLines(some []line) error {
	var errs fieldErrors
	for i := range some {
		switch l := &some[i]; {
		case l.wrong != nil && len(errs) < maxFieldErrors:
			errs = append(errs, *l.wrong)
		case l.wrong != nil:
		case l.expired:
			g.expired++
		default:
			g.add(l.token)
		}
	}
	if len(errs) > 0 {
		return errs
	}
	return nil
}
