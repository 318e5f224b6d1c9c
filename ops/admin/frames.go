package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/sockmill/sockmill/engine"
)

const (
	tapsMax    = 32                     // streams of frames at once
	framesMax  = 500                    // frames that wait for the reader of a stream
	framesPace = 100 * time.Millisecond // between two events, so that a reader gets framesMax/framesPace at most
	framesIdle = 15 * time.Second       // after which an empty line shows whether the reader is there
	writeTime  = 20 * time.Second       // that a reader has to take an event
)

// frames streams the frames of a connection.
func (h *handler) frames(w http.ResponseWriter, r *http.Request) {
	id, ok := idOf(w, r)
	if !ok {
		return
	}
	payload := 0
	if v := r.URL.Query().Get("payload"); v != "" && v != "0" {
		if payload = PayloadShown; !h.mayChange(r) {
			fail(w, http.StatusForbidden, "%s", onlyLooks)
			return
		}
	}
	select {
	case h.taps <- struct{}{}:
		defer func() { <-h.taps }()
	default:
		fail(w, http.StatusServiceUnavailable, "%d connections are being looked at: end one of these first", tapsMax)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), askTime)
	t, err := h.src.tap(ctx, id, payload)
	cancel()
	if err != nil {
		answerError(w, err)
		return
	}
	defer t.Close()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx
	s := events{w: w, out: http.NewResponseController(w)}
	if s.tell("start", map[string]uint64{"id": id}) == nil {
		_ = s.stream(r.Context(), t, payload > 0) // fails if the reader has gone
	}
}

func (h *handler) mayChange(r *http.Request) bool {
	may, _ := h.guard.of(r)
	return may >= change
}

// events is a stream of Server-Sent Events.
type events struct {
	w   http.ResponseWriter
	out *http.ResponseController
}

func (s *events) tell(event string, data any) error {
	b, err := json.Marshal(data)
	if err != nil {
		return err
	}
	return s.write(fmt.Sprintf("event: %s\ndata: %s\n\n", event, b))
}

func (s *events) write(text string) error {
	_ = s.out.SetWriteDeadline(time.Now().Add(writeTime)) // not every server can
	if _, err := io.WriteString(s.w, text); err != nil {
		return err
	}
	return s.out.Flush()
}

// stream tells what a tap shows until either of both ends.
func (s *events) stream(ctx context.Context, t tap, payload bool) error {
	began := time.Now()
	pace := time.NewTimer(0)
	defer pace.Stop()
	for {
		frames, dropped, err := readFor(ctx, t)
		switch {
		case errors.Is(err, io.EOF):
			return s.tell("end", map[string]string{"reason": "the connection has ended"})
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil: // framesIdle is over
			if err := s.write(": nothing\n\n"); err != nil {
				return err
			}
			continue
		}
		shown := make([]Frame, len(frames))
		for i := range frames {
			shown[i] = frameOf(&frames[i], began, payload)
		}
		if err := s.tell("frames", shown); err != nil {
			return err
		}
		if dropped > 0 {
			if err := s.tell("dropped", map[string]uint64{"frames": dropped}); err != nil {
				return err
			}
		}
		pace.Reset(framesPace)
		select {
		case <-pace.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func readFor(ctx context.Context, t tap) ([]engine.TappedFrame, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, framesIdle)
	defer cancel()
	return t.Read(ctx)
}

func frameOf(f *engine.TappedFrame, began time.Time, payload bool) Frame {
	to := Frame{At: max(f.At.Sub(began).Milliseconds(), 0), In: f.In, Opcode: "data", FIN: f.Fin, RSV: f.Rsv, Masked: f.Masked, Length: f.Length}
	if f.Framed {
		if to.Opcode = f.Opcode.String(); f.Opcode.Reserved() {
			to.Opcode = strconv.Itoa(int(f.Opcode))
		}
	}
	if payload {
		to.Payload = f.Payload
	}
	return to
}
