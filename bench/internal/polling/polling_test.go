package polling

import (
	"context"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Every reader gets every message, once and in order, by each way; and a WebSocket
// is the cheapest and, beside polling each second, the quickest.
func TestRun(t *testing.T) {
	rows, err := Run(context.Background(), Options{Readers: 3, Duration: 2 * time.Second, Pause: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 3 || rows[0].Way != Ajax || rows[1].Way != Long || rows[2].Way != WebSocket {
		t.Fatalf("%+v", rows)
	}
	ajax, long, ws := rows[0], rows[1], rows[2]
	if ws.Delivered == 0 || ajax.Delivered != ws.Delivered || long.Delivered != ws.Delivered {
		t.Errorf("%d, %d and %d messages delivered", ajax.Delivered, long.Delivered, ws.Delivered)
	}
	if ws.Requests != 3 || long.Requests <= ws.Requests || ajax.Requests <= ws.Requests {
		t.Errorf("%d, %d and %d requests", ajax.Requests, long.Requests, ws.Requests)
	}
	// A message is 110 bytes; a request of polling is 500, and so is the handshake.
	if ws.BytesMessage < 110 || ws.BytesMessage > ajax.BytesMessage || ws.BytesMessage > long.BytesMessage {
		t.Errorf("%.0f, %.0f and %.0f bytes a message", ajax.BytesMessage, long.BytesMessage, ws.BytesMessage)
	}
	if ajax.P50 < ws.P50 || ajax.P50 <= 0 || ws.Max < ws.P50 {
		t.Errorf("delays: %+v", rows)
	}
}

// An end from outside ends it with an error, not with figures.
func TestRunCancelled(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if rows, err := Run(ctx, Options{Readers: 1, Duration: time.Minute, Pause: 100 * time.Millisecond}); err == nil {
		t.Errorf("%+v", rows)
	}
}

// A reader that misses a message, or hears it twice, is no reader.
func TestTake(t *testing.T) {
	for _, numbers := range [][]int{{2}, {1, 1}, {1, 3}, {1, 2, 1}} {
		d := &reader{way: &way{delay: hdrhistogram.New(1, 60e9, 3)}, room: &room{opened: time.Now()}}
		var news []message
		for _, n := range numbers {
			news = append(news, message{N: n})
		}
		if err := d.take(news...); err == nil {
			t.Errorf("%v was taken", numbers)
		}
	}
}
