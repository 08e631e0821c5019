package main

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
)

func TestCheckSaysLiveOrRefusedOnlyWhenAnAgentDid(t *testing.T) {
	alone(t)
	for _, c := range []struct {
		status int
		agent  bool
		code   int
		want   string
	}{
		{http.StatusOK, true, exitDone, "live"},
		{http.StatusUnauthorized, true, exitFailed, "refused"},
		{http.StatusServiceUnavailable, true, exitUnconfirmed, "unknown"},
		{http.StatusTooManyRequests, true, exitUnconfirmed, "unknown"},
		{http.StatusOK, false, exitUnconfirmed, "not an agent"},
		{http.StatusUnauthorized, false, exitUnconfirmed, "not an agent"},
		{http.StatusBadGateway, false, exitUnconfirmed, "not an agent"},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer a.b.c" || r.URL.Path != "/check" {
				t.Errorf("asked %s with %q", r.URL, r.Header.Get("Authorization"))
			}
			if c.agent {
				w.Header().Set("X-Revocation-Status", "unknown")
			}
			w.WriteHeader(c.status)
		}))
		code, out, errs := rescind(t, "", "check", "a.b.c", "--agent", srv.URL+"/")
		srv.Close()
		if code != c.code || !strings.Contains(out+errs, c.want) {
			t.Errorf("%d from an agent %t: exited with %d, %q, want %d, %q", c.status, c.agent, code, out+errs, c.code, c.want)
		}
	}
}

func TestRevokeExitsWithThreeUntilAsManyAgentsAsAskedForConfirm(t *testing.T) {
	alone(t)
	write(t, "key", "k")
	const partly = `{"id":"x","error_count":1,"error_details":[{"agent":"a/b","type":"agent_silent","reason":"none"}],"agents":{"expected":3,"applied":2}}`
	const whole = `{"id":"x","agents":{"expected":3,"applied":3}}`
	for _, c := range []struct {
		wait   string
		status int
		body   string
		code   int
	}{
		{"all", http.StatusCreated, whole, exitDone},
		{"all", http.StatusCreated, partly, exitUnconfirmed},
		{"any", http.StatusCreated, partly, exitDone},
		{"2", http.StatusCreated, partly, exitDone},
		{"3", http.StatusCreated, partly, exitUnconfirmed},
		{"none", http.StatusCreated, partly, exitDone},
		{"all", http.StatusAccepted, `{"id":"x"}`, exitUnconfirmed},
		{"none", http.StatusAccepted, `{"id":"x"}`, exitUnconfirmed},
		{"all", http.StatusCreated, `<html>`, exitFailed},
		{"all", http.StatusUnprocessableEntity, `{"title":"no"}`, exitUsage},
		{"all", http.StatusForbidden, `{"title":"no"}`, exitFailed},
		{"all", http.StatusBadGateway, ``, exitFailed},
	} {
		t.Run(c.wait+" "+strconv.Itoa(c.status), func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
			}))
			defer srv.Close()
			code, out, errs := rescind(t, "", "revoke", "user", "a", "--wait", c.wait, "--api-key-file", "key", "--publisher", srv.URL)
			if code != c.code {
				t.Errorf("exited with %d, want %d: %s%s", code, c.code, out, errs)
			}
		})
	}
}

func TestStatusNamesTheAgentWhoseDiskFails(t *testing.T) {
	alone(t)
	write(t, "key", "k")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(`{"items":[{"name":"a/b","state":"fresh","disk":"no space"},{"name":"a/c","gone":true},{"name":"a/d","silent":true}]}`))
	}))
	defer srv.Close()
	code, out, errs := rescind(t, "", "status", "--api-key-file", "key", "--publisher", srv.URL)
	for _, want := range []string{"a/b cannot write to its disk: no space", "gone", "silent", "fresh"} {
		if code != exitDone || !strings.Contains(out, want) {
			t.Errorf("exited with %d and printed %q, %q, want %q", code, out, errs, want)
		}
	}
}
