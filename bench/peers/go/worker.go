// What a Go team writes by hand: a goroutine a slot, LMOVE as a reliable queue, net/http and a pgx pool.
// WRITE_AHEAD=1: a row before each POST, so that a crash does not send twice.
//
//	worker work CONCURRENCY | worker enqueue COUNT
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/jackc/pgx/v4/pgxpool"
)

const (
	queueKey      = "messages"
	processingKey = "messages:processing"

	insertResult = "INSERT INTO results (n, recipient, status, message_id) VALUES ($1, $2, $3, $4)"
	insertAhead  = "INSERT INTO results (n, recipient, status) VALUES ($1, $2, 'sending') ON CONFLICT DO NOTHING"
	updateResult = "UPDATE results SET status = $2, message_id = $3 WHERE n = $1"
)

type job struct {
	N    int    `json:"n"`
	To   string `json:"to"`
	Name string `json:"name"`
}

type answer struct {
	RetCode int
	Data    struct{ MessageId string }
}

func (a answer) status() string {
	if a.RetCode == 0 {
		return "accepted"
	}
	return "failed"
}

type worker struct {
	vendor     string
	http       *http.Client
	database   *pgxpool.Pool
	writeAhead bool
}

func main() {
	count, err := strconv.Atoi(os.Args[2])
	check(err)
	if os.Args[1] == "enqueue" {
		enqueue(count)
		return
	}
	w := newWorker(count)
	for n := 1; n < count; n++ {
		go w.loop()
	}
	w.loop()
}

func newWorker(concurrency int) *worker {
	config, err := pgxpool.ParseConfig(os.Getenv("PG_URL"))
	check(err)
	config.MaxConns = 20
	database, err := pgxpool.ConnectConfig(context.Background(), config)
	check(err)
	return &worker{
		vendor: os.Getenv("VENDOR_URL"),
		http: &http.Client{Transport: &http.Transport{
			MaxIdleConns:          concurrency,
			MaxIdleConnsPerHost:   concurrency,
			ResponseHeaderTimeout: 30 * time.Second,
		}},
		database:   database,
		writeAhead: os.Getenv("WRITE_AHEAD") == "1",
	}
}

// loop takes a job after the other. Taking a job away from the processing list goes with the request for the next.
func (w *worker) loop() {
	queue := dial()
	defer queue.Close()
	for {
		raw, err := redis.Bytes(queue.Do("BLMOVE", queueKey, processingKey, "RIGHT", "LEFT", 1))
		if err == redis.ErrNil {
			continue
		}
		check(err)
		var next job
		check(json.Unmarshal(raw, &next))
		w.send(next)
		check(queue.Send("LREM", processingKey, -1, raw))
	}
}

func (w *worker) send(next job) {
	ctx := context.Background()
	if w.writeAhead {
		opened, err := w.database.Exec(ctx, insertAhead, next.N, next.To)
		check(err)
		if opened.RowsAffected() == 0 {
			return
		}
	}
	said := w.post(next)
	var err error
	if w.writeAhead {
		_, err = w.database.Exec(ctx, updateResult, next.N, said.status(), said.Data.MessageId)
	} else {
		_, err = w.database.Exec(ctx, insertResult, next.N, next.To, said.status(), said.Data.MessageId)
	}
	check(err)
}

func (w *worker) post(next job) answer {
	reply, err := w.http.Do(requestFor(w.vendor, next))
	check(err)
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	check(err)
	var said answer
	check(json.Unmarshal(text, &said))
	return said
}

// requestFor renders and signs, as the vendor asks.
func requestFor(vendor string, next job) *http.Request {
	content, err := json.Marshal(map[string]string{
		"body": fmt.Sprintf("Hello %s, your spring voucher V-%d is good until Sunday.", next.Name, next.N),
	})
	check(err)
	fields := map[string]string{
		"Action":        "SendMessage",
		"BusinessPhone": "8615000579987",
		"Content":       string(content),
		"To":            next.To,
		"Type":          "text",
	}
	body, err := json.Marshal(fields)
	check(err)
	nonce := make([]byte, 10)
	_, err = rand.Read(nonce)
	check(err)
	request, err := http.NewRequest("POST", vendor, bytes.NewReader(body))
	check(err)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Access-Key-Id", "bench")
	request.Header.Set("X-Nonce", hex.EncodeToString(nonce))
	request.Header.Set("X-Signature", signature(fields))
	request.Header.Set("X-Timestamp", strconv.FormatInt(time.Now().Unix(), 10))
	return request
}

func signature(fields map[string]string) string {
	keys := make([]string, 0, len(fields))
	for key := range fields {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	var text strings.Builder
	for _, key := range keys {
		text.WriteString(key + fields[key])
	}
	text.WriteString("bench-secret")
	sum := sha1.Sum([]byte(text.String()))
	return hex.EncodeToString(sum[:])
}

func enqueue(count int) {
	queue := dial()
	defer queue.Close()
	jobs := redis.Args{queueKey}
	for n := 0; n < count; n++ {
		raw, err := json.Marshal(job{n, fmt.Sprintf("4474%08d", n+10_000_000), fmt.Sprintf("Name %d", n)})
		check(err)
		jobs = jobs.Add(raw)
	}
	_, err := queue.Do("LPUSH", jobs...)
	check(err)
}

func dial() redis.Conn {
	queue, err := redis.DialURL(os.Getenv("REDIS_URL"))
	check(err)
	return queue
}

// check ends the worker: a contest in which anything fails counts for nothing.
func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
