"""The HTML pages: records in, documents out. Every text of a record is escaped here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from shop_app.contract import TITLE, CartItem, Customer, Order, Product


def render_page(title: str, body: str) -> str:
    """A whole document; `body` is HTML already, `title` is not."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<link rel="icon" href="/static/icon.svg">
<link rel="stylesheet" href="/static/style.css">
</head>
<body>
<header>
<nav aria-label="Main">
<a href="/">Shop</a>
<a href="/products">Products</a>
<a href="/cart-items">Cart items</a>
<a href="/orders">Orders</a>
<a href="/customers">Customers</a>
</nav>
</header>
<main>
{body}
</main>
</body>
</html>
"""


def render_error(status: int, message: str) -> str:
    """The page for a request that cannot be carried out."""
    return render_page(
        f"Error {int(status)}",
        f"<h1>Sorry, that did not work</h1>\n<p>{escape(message)}</p>\n"
        '<p><a href="/">Back to the start</a></p>',
    )


def render_home(counts: Mapping[str, int]) -> str:
    """The first page: how many records of each kind there are."""
    cards = "\n".join(
        f'<li class="card"><a href="/{slug}">{escape(slug.replace("-", " ").capitalize())}</a>'
        f' <span class="badge">{count}</span></li>'
        for slug, count in counts.items()
    )
    return render_page(TITLE, f'<h1>{escape(TITLE)}</h1>\n<ul class="records">\n{cards}\n</ul>')


_PRODUCT_FORM = """<form class="card" method="post" action="/products">
<label for="product-name">Name</label>
<input id="product-name" name="name" required maxlength="10000">
<label for="product-price-cents">Price in cents</label>
<input id="product-price-cents" name="price_cents" type="number" min="0" required>
<button class="primary">Add</button>
</form>"""
_NO_PRODUCTS = '<p class="empty">No products yet.</p>'


def render_products(records: Sequence[Product]) -> str:
    """The page of products: a form for a new one, and each with what can be done to it."""
    items = "\n".join(_product_item(record) for record in records)
    listing = f'<ul class="records">\n{items}\n</ul>' if items else _NO_PRODUCTS
    return render_page("Products", f"<h1>Products</h1>\n{_PRODUCT_FORM}\n{listing}")


def _product_item(record: Product) -> str:
    path = f"/products/{record.id}"
    name = record.name
    button = _button(f"{path}/delete", "Delete", name)
    return f"""<li class="card">
<p class="name">{escape(name)}</p>
<p class="detail">Price in cents: {record.price_cents}</p>
<div class="actions">{button}</div>
</li>"""


_CART_ITEM_FORM = """<form class="card" method="post" action="/cart-items">
<label for="cart-item-product-id">Product</label>
<input id="cart-item-product-id" name="product_id" type="number" min="1" required>
<label for="cart-item-quantity">Quantity</label>
<input id="cart-item-quantity" name="quantity" type="number" min="1" required>
<button class="primary">Add</button>
</form>"""
_NO_CART_ITEMS = '<p class="empty">No cart items yet.</p>'


def render_cart_items(records: Sequence[CartItem]) -> str:
    """The page of cart items: a form for a new one, and each with what can be done to it."""
    items = "\n".join(_cart_item_item(record) for record in records)
    listing = f'<ul class="records">\n{items}\n</ul>' if items else _NO_CART_ITEMS
    return render_page("Cart items", f"<h1>Cart items</h1>\n{_CART_ITEM_FORM}\n{listing}")


def _cart_item_item(record: CartItem) -> str:
    path = f"/cart-items/{record.id}"
    name = f"Product {record.product_id}"
    button = _button(f"{path}/delete", "Delete", name)
    return f"""<li class="card">
<p class="name">{escape(name)}</p>
<p class="detail">Quantity: {record.quantity}</p>
<div class="actions">{button}</div>
</li>"""


_ORDER_FORM = """<form class="card" method="post" action="/orders">
<label for="order-customer">Customer</label>
<input id="order-customer" name="customer" required maxlength="10000">
<button class="primary">Checkout</button>
</form>"""
_NO_ORDERS = '<p class="empty">No orders yet.</p>'


def render_orders(records: Sequence[Order]) -> str:
    """The page of orders: a form for a new one, and each with what can be done to it."""
    items = "\n".join(_order_item(record) for record in records)
    listing = f'<ul class="records">\n{items}\n</ul>' if items else _NO_ORDERS
    return render_page("Orders", f"<h1>Orders</h1>\n{_ORDER_FORM}\n{listing}")


def _order_item(record: Order) -> str:
    path = f"/orders/{record.id}"
    name = record.customer
    buttons = []
    if not record.paid:
        buttons.append(_button(f"{path}/pay", "Pay", name))
    buttons.append(_button(f"{path}/delete", "Delete", name))
    return f"""<li class="card">
<p class="name">{escape(name)}
{_badge(record.paid, "Paid")}</p>
<p class="detail">Total in cents: {record.total_cents}</p>
<div class="actions">{"".join(buttons)}</div>
</li>"""


_CUSTOMER_FORM = """<form class="card" method="post" action="/customers">
<label for="customer-name">Name</label>
<input id="customer-name" name="name" required maxlength="10000">
<label for="customer-email">Email</label>
<input id="customer-email" name="email" type="email" required maxlength="10000">
<button class="primary">Add</button>
</form>"""
_NO_CUSTOMERS = '<p class="empty">No customers yet.</p>'


def render_customers(records: Sequence[Customer]) -> str:
    """The page of customers: a form for a new one, and each with what can be done to it."""
    items = "\n".join(_customer_item(record) for record in records)
    listing = f'<ul class="records">\n{items}\n</ul>' if items else _NO_CUSTOMERS
    return render_page("Customers", f"<h1>Customers</h1>\n{_CUSTOMER_FORM}\n{listing}")


def _customer_item(record: Customer) -> str:
    path = f"/customers/{record.id}"
    name = record.name
    button = _button(f"{path}/delete", "Delete", name)
    return f"""<li class="card">
<p class="name">{escape(name)}</p>
<p class="detail">{escape(record.email)}</p>
<div class="actions">{button}</div>
</li>"""


def _button(path: str, label: str, name: str) -> str:
    """A form of one button; `name` tells a screen reader which record it is for."""
    return (
        f'<form method="post" action="{path}">'
        f'<button aria-label="{label} {escape(name)}">{label}</button></form>'
    )


def _badge(shown: bool, label: str) -> str:
    return f'<span class="badge">{label}</span>' if shown else ""
