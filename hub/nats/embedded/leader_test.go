package embedded

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

const childVariable = "SOCKMILL_EMBEDDED_CHILD"

// TestMain runs a server instead of the tests if the environment has its configuration, until the standard input ends. Tests run eight at
// a time, as they wait more than they compute, and none of them leaves a goroutine.
func TestMain(m *testing.M) {
	if c := os.Getenv(childVariable); c != "" {
		if err := child(c); err != nil {
			fmt.Println(err)
			os.Exit(1) //nolint:forbidigo // it is a main
		}
		return
	}
	if err := flag.Set("test.parallel", atOnce); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// childConfig is what a test gives to a server in a process of its own.
type childConfig struct {
	Name, Dir, ClusterListen string
	Peers                    []string
	StoreBytesMax            int64
}

// prepareChild is what a test of one system only has to do in the process of a server.
var prepareChild = func() error { return nil }

func child(text string) error {
	var p childConfig
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return err
	}
	if err := prepareChild(); err != nil {
		return err
	}
	s, err := Start(context.Background(), Config{Name: p.Name, Dir: p.Dir, ClusterListen: p.ClusterListen, Peers: p.Peers, StoreBytesMax: p.StoreBytesMax})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	stdin := make(chan struct{})
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadByte()
		close(stdin)
	}()
	for again := time.NewTicker(100 * time.Millisecond); ; {
		select {
		case <-again.C:
			if err := s.Health(); errors.Is(err, ErrRestart) {
				fmt.Printf("%q\n", err.Error())
				<-stdin
			}
		case <-stdin:
			return s.Stop(context.Background())
		}
	}
}

// command is a process with a server.
func command(t testing.TB, c Config) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(childConfig{c.Name, c.Dir, c.ClusterListen, c.Peers, c.StoreBytesMax})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0]) //nolint:gosec // this test itself
	cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	if _, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// spawn starts a server in a process of its own and returns its process when it is ready.
func spawn(t testing.TB, c Config) *os.Process {
	t.Helper()
	cmd := command(t, c)
	run(t, cmd)
	return cmd.Process
}

// run starts the process of a server, waits until it is ready, and returns what else it says: what Health tells with ErrRestart.
func run(t testing.TB, cmd *exec.Cmd) *bufio.Reader {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); line != "ready\n" {
		t.Fatalf("the process says %q: %v", line, err)
	}
	return lines
}

// makeStream makes a stream for "s.*".
func makeStream(t testing.TB, js jetstream.JetStream, replicas int) jetstream.Stream {
	t.Helper()
	for all := within(t); ; {
		// A server that has just come is not chosen at once.
		ctx, cancel := context.WithTimeout(all, time.Second)
		s, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "s", Subjects: []string{"s.*"}, Replicas: replicas})
		cancel()
		if err == nil {
			return s
		}
		if all.Err() != nil {
			t.Fatal(err)
		}
	}
}

// stream makes a stream of three replicas that is led by a server, and returns a connection to it by way of another.
func stream(t testing.TB, via *Server, leader string) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(connect(t, via))
	if err != nil {
		t.Fatal(err)
	}
	s := makeStream(t, js, 3)
	for all := within(t); all.Err() == nil; {
		// Nobody answers while there is no leader, so each request waits for a second only.
		ctx, cancel := context.WithTimeout(all, time.Second)
		info, err := s.Info(ctx)
		if err == nil && info.Cluster.Leader == leader {
			cancel()
			return js
		}
		_, _ = js.Conn().RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN.s", fmt.Appendf(nil, `{"placement":{"preferred":%q}}`, leader))
		cancel()
	}
	t.Fatalf("%s does not lead the stream", leader)
	return nil
}

// tryAgain is after what time a publish is sent again: one that the old leader has got when it steps down is never answered.
const tryAgain = 250 * time.Millisecond

// publish publishes until there is a failure and then a success, or until end is closed, and returns how long it had failed at most.
func publish(t testing.TB, js jetstream.JetStream, end <-chan struct{}) (longest time.Duration, failures int) {
	ctx := within(t)
	for i := 0; ; i++ {
		begun := time.Now()
		for first := true; ; first = false {
			try, cancel := context.WithTimeout(ctx, tryAgain)
			_, err := js.Publish(try, "s.a", nil, jetstream.WithRetryAttempts(0), jetstream.WithMsgID(fmt.Sprint(begun.UnixNano(), i)))
			cancel()
			if err == nil {
				break
			}
			if first {
				failures++
			}
			if ctx.Err() != nil {
				t.Errorf("publishes fail: %v", err)
				return longest, failures
			}
		}
		longest = max(longest, time.Since(begun))
		select {
		case <-end:
			return longest, failures
		default:
		}
	}
}

// TestHandOver: a leader that is stopped is followed by another without an election, which takes at least four seconds.
func TestHandOver(t *testing.T) {
	t.Parallel()
	all := three(t)
	for i := range all {
		until(t, all[i], "all are connected", func(t state) bool { return len(t.routes) == 2 })
	}
	js := stream(t, all[0], "n1")
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		if err := all[1].Stop(within(t)); err != nil {
			t.Error(err)
		}
	}()
	longest, failures := publish(t, js, stopped)
	t.Logf("%d publishes failed at first, the longest took %v", failures, longest)
	if longest > 3*time.Second {
		t.Errorf("a publish took %v", longest)
	}
}

// TestCutOff: a leader without a majority gives up at once, so that publishes fail instead of waiting.
func TestCutOff(t *testing.T) {
	t.Parallel()
	all := three(t)
	js := stream(t, all[0], "n0")
	ended, cancel := context.WithCancel(within(t))
	cancel()
	for _, s := range all[1:] {
		if err := s.Stop(ended); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	begun := time.Now()
	poll(t, "it does not lead any more", func() bool { return !all[0].server.JetStreamIsStreamLeader("$G", "s") })
	if took := time.Since(begun); took > 8*time.Second { // NATS by itself: 10 s and more
		t.Errorf("after %v", took)
	} else {
		t.Logf("after %v", took)
	}
	poll(t, "publishes fail at once", func() bool {
		_, err := js.Publish(within(t), "s.a", nil, jetstream.WithRetryAttempts(0))
		return errors.Is(err, jetstream.ErrNoStreamResponse)
	})
}

// TestKilled: the leader is gone without a word.
func TestKilled(t *testing.T) {
	t.Parallel()
	at := free(t, 3)
	all := startAll(t, node(t, 0, at), node(t, 1, at))
	third := node(t, 2, at)
	process := spawn(t, third)
	js := stream(t, all[0], "n2")
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	until(t, all[0], "it is gone", func(t state) bool { return len(t.routes) == 1 })
	t.Logf("noticed after %v", time.Since(killed))
	done := make(chan struct{})
	close(done)
	publish(t, js, done) // one that succeeds
	t.Logf("another leader after %v", time.Since(killed))
	spawn(t, third) // it comes back, and its name is free
	until(t, all[0], "it is back", func(t state) bool { return len(t.routes) == 2 && t.health() == nil })
}

// TestSilent: a server that does not answer is noticed by its pings.
func TestSilent(t *testing.T) {
	t.Parallel()
	at := free(t, 3)
	all := startAll(t, node(t, 0, at), node(t, 1, at))
	process := spawn(t, node(t, 2, at))
	until(t, all[0], "it is there", func(t state) bool { return len(t.routes) == 2 })
	if err := process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	until(t, all[0], "it is gone", func(t state) bool { return len(t.routes) == 1 })
	if took := time.Since(begun); took > 8*time.Second {
		t.Errorf("noticed after %v", took)
	} else {
		t.Logf("noticed after %v", took)
	}
	if err := process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	until(t, all[0], "it is back", func(t state) bool { return len(t.routes) == 2 })
}
