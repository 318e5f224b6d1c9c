package recipes

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/protocol"
)

// logins are the sessions of a site: what its cookies stand for.
type logins struct {
	mu    sync.Mutex
	users map[string]string // by the value of the cookie
}

// login answers POST /login with a cookie.
func (l *logins) login(w http.ResponseWriter, r *http.Request) {
	if r.FormValue("password") != "s3cret" {
		http.Error(w, "wrong password", http.StatusUnauthorized)
		return
	}
	value := rand.Text()
	l.mu.Lock()
	l.users[value] = r.FormValue("user")
	l.mu.Unlock()
	// With Secure too, once the site is served over TLS.
	http.SetCookie(w, &http.Cookie{Name: "login", Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

func (l *logins) user(value string) (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	user, ok := l.users[value]
	return user, ok
}

// A page logs in by HTTP, and the browser shows the cookie in the handshake. No
// other site's page can use it: the engine refuses foreign origins.
func Example_loginWithCookie() {
	site := &logins{users: map[string]string{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", site.login)
	e := server(engine.Config{HTTP: mux}, engine.Handler{
		OnUpgrade: func(u *engine.Upgrade) error {
			user, ok := site.user(u.Request.Cookie("login"))
			if !ok {
				return engine.Refuse(http.StatusUnauthorized, "log in first")
			}
			u.State = user
			return nil
		},
		OnOpen: func(c *engine.Conn) { _ = c.SendText("hello " + c.State().(string)) },
	})
	client, stop := serve(e)
	defer stop()
	at := e.Addr().String()

	_, status := visit(client, engine.Dial{URL: "ws://" + at + "/"})
	fmt.Println("without a cookie:", status)

	r, err := http.Post("http://"+at+"/login", "application/x-www-form-urlencoded", strings.NewReader("user=Ada&password=s3cret"))
	if err != nil {
		panic(err)
	}
	_ = r.Body.Close()
	cookie := r.Cookies()[0]
	ada, status := visit(client, engine.Dial{
		URL:    "ws://" + at + "/",
		Header: []protocol.Field{{Name: "Cookie", Value: cookie.Name + "=" + cookie.Value}},
	})
	fmt.Println("with it:", status, <-ada.heard)
	// Output:
	// without a cookie: 401
	// with it: 101 hello Ada
}
