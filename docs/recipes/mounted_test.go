package recipes

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/labstack/echo/v4"

	"github.com/sockmill/sockmill/engine"
)

type userKey struct{}

// authenticated is middleware: it finds out who asks, and sets a cookie.
func authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "seen", Value: "yes"})
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, "Ada")))
	})
}

// guest is what middleware and router found out, and the callbacks want to know.
type guest struct{ user, room string }

// The engine takes the connections of a route away from another server, onto its
// own loops. It listens nowhere itself, but has to run. What middleware and router
// know goes along as the State.
func Example_mounted() {
	e, err := engine.New(engine.Config{}, engine.Handler{
		OnOpen: func(c *engine.Conn) {
			g := c.State().(guest)
			_ = c.SendText("hello " + g.user + ", this is " + g.room)
		},
	})
	if err != nil {
		panic(err)
	}
	client, stop := serve(e)
	defer stop()
	upgrade := func(w http.ResponseWriter, r *http.Request, room string) {
		user := r.Context().Value(userKey{}).(string)
		if err := e.Upgrade(w, r, engine.Upgrade{State: guest{user, room}}); err != nil {
			fmt.Println(err) // what is wrong with the server; the client has been told
		}
	}

	gin.SetMode(gin.ReleaseMode)
	g := gin.New()
	g.GET("/gin/:room", func(c *gin.Context) { upgrade(c.Writer, c.Request, c.Param("room")) })

	o := echo.New()
	o.GET("/echo/:room", func(c echo.Context) error {
		upgrade(c.Response(), c.Request(), c.Param("room"))
		return nil
	})

	r := chi.NewRouter()
	r.Get("/chi/{room}", func(w http.ResponseWriter, r *http.Request) { upgrade(w, r, chi.URLParam(r, "room")) })

	mux := http.NewServeMux()
	mux.HandleFunc("GET /mux/{room}", func(w http.ResponseWriter, r *http.Request) { upgrade(w, r, r.PathValue("room")) })

	for path, router := range map[string]http.Handler{"/gin/tea": g, "/echo/coffee": o, "/chi/juice": r, "/mux/water": mux} {
		s := httptest.NewServer(authenticated(router))
		v, status := visit(client, engine.Dial{URL: "ws" + strings.TrimPrefix(s.URL, "http") + path})
		fmt.Println(path, status, <-v.heard)
		v.leave()
		s.Close()
	}
	// Unordered output:
	// /gin/tea 101 hello Ada, this is tea
	// /echo/coffee 101 hello Ada, this is coffee
	// /chi/juice 101 hello Ada, this is juice
	// /mux/water 101 hello Ada, this is water
}
