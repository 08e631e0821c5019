package natsd

import (
	"fmt"
	"log/slog"

	"github.com/nats-io/nats-server/v2/server"
)

// logger gives nats-server's log to slog. A protocol trace prints payloads and is
// dropped, whatever the server is told to trace. A fatal error does not end the
// program: it is handed to whoever starts the server.
type logger struct {
	out   *slog.Logger
	fatal chan string
}

var _ server.Logger = (*logger)(nil)

func newLogger(out *slog.Logger) *logger {
	if out == nil {
		out = slog.New(slog.DiscardHandler)
	}
	return &logger{out.With("component", "nats-server"), make(chan string, 1)}
}

func (l *logger) Noticef(format string, v ...any) {
	l.out.Debug("notice", "text", fmt.Sprintf(format, v...))
}
func (l *logger) Debugf(format string, v ...any) {
	l.out.Debug("debug", "text", fmt.Sprintf(format, v...))
}
func (l *logger) Warnf(format string, v ...any) {
	l.out.Warn("warning", "text", fmt.Sprintf(format, v...))
}
func (l *logger) Errorf(format string, v ...any) {
	l.out.Warn("error", "text", fmt.Sprintf(format, v...))
}
func (l *logger) Tracef(string, ...any) {}

// Fatalf keeps the first fatal error: later ones follow from it.
func (l *logger) Fatalf(format string, v ...any) {
	msg := fmt.Sprintf(format, v...)
	l.out.Warn("fatal", "text", msg)
	select {
	case l.fatal <- msg:
	default:
	}
}
