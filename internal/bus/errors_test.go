package bus

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestPublishErrorsAreClassified(t *testing.T) {
	api := func(http int, code jetstream.ErrorCode, text string) error {
		return fmt.Errorf("nats: %w", &jetstream.APIError{Code: http, ErrorCode: code, Description: text})
	}
	for _, c := range []struct {
		err, want error
		retryable bool
	}{
		{nats.ErrNoResponders, ErrUnavailable, true},
		{jetstream.ErrNoStreamResponse, ErrUnavailable, true},
		{nats.ErrReconnectBufExceeded, ErrUnavailable, true},
		{nats.ErrTimeout, ErrUnknownOutcome, true},
		{nats.ErrConnectionClosed, ErrUnknownOutcome, true},
		{context.Canceled, ErrUnknownOutcome, true},
		{jetstream.ErrInvalidJSAck, ErrUnknownOutcome, true},
		{nats.ErrMaxPayload, ErrRefused, false},
		{api(503, 10077, "maximum bytes exceeded"), ErrFull, true},
		{api(503, 10077, "write error"), ErrUnknownOutcome, true},
		{api(500, 10047, "insufficient storage resources available"), ErrFull, true},
		{api(503, 10023, "insufficient resources"), ErrFull, true},
		{api(400, 10002, "resource limits exceeded for account"), ErrFull, true},
		{api(503, 10008, "JetStream system temporarily unavailable"), ErrUnavailable, true},
		{api(400, 10060, "expected stream does not match"), ErrRefused, false},
	} {
		got := publishError(c.err)
		if !errors.Is(got, c.want) || !errors.Is(got, c.err) || Retryable(got) != c.retryable {
			t.Errorf("%v: got %v (retryable %v), want %v", c.err, got, Retryable(got), c.want)
		}
	}
}

func TestServersThatLoseAcknowledgedMessagesAreRefused(t *testing.T) {
	for version, ok := range map[string]bool{
		"2.14.6": true, "2.14.9": true, "2.15.2": true, "2.15.0-RC.1": true, "3.0.0": true, "2.14.10": true,
		"2.14.5": false, "2.13.9": false, "2.9.22": false, "1.14.6": false, "": false, "dev": false, "2.15": false,
	} {
		if err := checkVersion(version); (err == nil) != ok || !ok && !errors.Is(err, ErrServerTooOld) {
			t.Errorf("%q: got %v", version, err)
		}
	}
}
