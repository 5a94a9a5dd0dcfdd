"""The web side of Shop: pages for people, and a JSON API under /api/."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

from shop_app import pages
from shop_app.cart_items import CartItems
from shop_app.contract import TITLE
from shop_app.customers import Customers
from shop_app.orders import Orders
from shop_app.products import Products
from shop_app.server import (
    Handler,
    Request,
    Response,
    Route,
    html_response,
    json_response,
    make_server,
    redirect,
    static_routes,
)
from shop_app.storage import Database

STATIC = Path(__file__).parent / "static"


def build_routes(database: Database) -> list[Route]:
    """Everything the server answers."""
    return [
        *_home_routes(database),
        *_product_pages(Products(database)),
        *_product_api(Products(database)),
        *_cart_item_pages(CartItems(database)),
        *_cart_item_api(CartItems(database)),
        *_order_pages(Orders(database)),
        *_order_api(Orders(database)),
        *_customer_pages(Customers(database)),
        *_customer_api(Customers(database)),
        *static_routes(STATIC),
    ]


def serve(database: Database, host: str, port: int) -> None:
    """Answer requests until Ctrl-C; prints the address first. Port 0 takes a free one."""
    with make_server(build_routes(database), pages.render_error, host, port) as server:
        print(f"Serving {TITLE} on http://{host}:{server.server_port}/", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("Stopped.")


def _form(page: str, act: Callable[[Request], object]) -> Handler:
    """A handler that acts and sends the browser back to the page."""

    def handle(request: Request) -> Response:
        act(request)
        return redirect(page)

    return handle


def _home_routes(database: Database) -> list[Route]:
    def home(request: Request) -> Response:
        return html_response(
            pages.render_home(
                {
                    "products": len(Products(database).all()),
                    "cart-items": len(CartItems(database).all()),
                    "orders": len(Orders(database).all()),
                    "customers": len(Customers(database).all()),
                }
            )
        )

    return [Route("GET", "/", home)]


def _product_pages(products: Products) -> list[Route]:
    def page(request: Request) -> Response:
        return html_response(pages.render_products(products.all()))

    return [
        Route("GET", "/products", page),
        Route(
            "POST",
            "/products",
            _form("/products", lambda r: products.add(**r.pick("name", "price_cents"))),
        ),
        Route(
            "POST",
            "/products/{id}/delete",
            _form("/products", lambda r: products.delete(r.record_id)),
        ),
    ]


def _product_api(products: Products) -> list[Route]:
    return [
        Route("GET", "/api/products", lambda r: json_response(products.all())),
        Route(
            "POST",
            "/api/products",
            lambda r: json_response(
                products.add(**r.pick("name", "price_cents")),
                HTTPStatus.CREATED,
            ),
        ),
        Route("GET", "/api/products/{id}", lambda r: json_response(products.get(r.record_id))),
        Route(
            "DELETE",
            "/api/products/{id}",
            lambda r: json_response(products.delete(r.record_id)),
        ),
    ]


def _cart_item_pages(cart_items: CartItems) -> list[Route]:
    def page(request: Request) -> Response:
        return html_response(pages.render_cart_items(cart_items.all()))

    return [
        Route("GET", "/cart-items", page),
        Route(
            "POST",
            "/cart-items",
            _form("/cart-items", lambda r: cart_items.add(**r.pick("product_id", "quantity"))),
        ),
        Route(
            "POST",
            "/cart-items/{id}/delete",
            _form("/cart-items", lambda r: cart_items.delete(r.record_id)),
        ),
    ]


def _cart_item_api(cart_items: CartItems) -> list[Route]:
    return [
        Route("GET", "/api/cart-items", lambda r: json_response(cart_items.all())),
        Route(
            "POST",
            "/api/cart-items",
            lambda r: json_response(
                cart_items.add(**r.pick("product_id", "quantity")),
                HTTPStatus.CREATED,
            ),
        ),
        Route("GET", "/api/cart-items/{id}", lambda r: json_response(cart_items.get(r.record_id))),
        Route(
            "DELETE",
            "/api/cart-items/{id}",
            lambda r: json_response(cart_items.delete(r.record_id)),
        ),
    ]


def _order_pages(orders: Orders) -> list[Route]:
    def page(request: Request) -> Response:
        return html_response(pages.render_orders(orders.all()))

    return [
        Route("GET", "/orders", page),
        Route("POST", "/orders", _form("/orders", lambda r: orders.checkout(**r.pick("customer")))),
        Route("POST", "/orders/{id}/pay", _form("/orders", lambda r: orders.pay(r.record_id))),
        Route(
            "POST",
            "/orders/{id}/delete",
            _form("/orders", lambda r: orders.delete(r.record_id)),
        ),
    ]


def _order_api(orders: Orders) -> list[Route]:
    return [
        Route("GET", "/api/orders", lambda r: json_response(orders.all())),
        Route(
            "POST",
            "/api/orders",
            lambda r: json_response(orders.checkout(**r.pick("customer")), HTTPStatus.CREATED),
        ),
        Route("GET", "/api/orders/{id}", lambda r: json_response(orders.get(r.record_id))),
        Route("POST", "/api/orders/{id}/pay", lambda r: json_response(orders.pay(r.record_id))),
        Route("DELETE", "/api/orders/{id}", lambda r: json_response(orders.delete(r.record_id))),
    ]


def _customer_pages(customers: Customers) -> list[Route]:
    def page(request: Request) -> Response:
        return html_response(pages.render_customers(customers.all()))

    return [
        Route("GET", "/customers", page),
        Route(
            "POST",
            "/customers",
            _form("/customers", lambda r: customers.add(**r.pick("name", "email"))),
        ),
        Route(
            "POST",
            "/customers/{id}/delete",
            _form("/customers", lambda r: customers.delete(r.record_id)),
        ),
    ]


def _customer_api(customers: Customers) -> list[Route]:
    return [
        Route("GET", "/api/customers", lambda r: json_response(customers.all())),
        Route(
            "POST",
            "/api/customers",
            lambda r: json_response(customers.add(**r.pick("name", "email")), HTTPStatus.CREATED),
        ),
        Route("GET", "/api/customers/{id}", lambda r: json_response(customers.get(r.record_id))),
        Route(
            "DELETE",
            "/api/customers/{id}",
            lambda r: json_response(customers.delete(r.record_id)),
        ),
    ]
