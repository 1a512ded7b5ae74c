"""What the shop sells."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Product:
    """Something to buy; price in fen."""

    product_id: str
    name: str
    category: str
    price_minor: int


PRODUCTS = (
    Product("p-101", "龙井茶 250g", "茶叶", 16_800), Product("p-102", "Ceramic teapot", "茶具", 32_900),
    Product("p-103", "羊绒围巾", "服饰", 59_900), Product("p-104", "Running shoes", "运动", 79_900),
    Product("p-105", "无线耳机", "数码", 129_900), Product("p-106", "Desk lamp", "家居", 24_950),
    Product("p-107", "护手霜礼盒", "美妆", 19_900), Product("p-108", "Espresso machine", "家电", 349_900),
    Product("p-109", "儿童积木", "玩具", 13_900), Product("p-110", "Linen shirt", "服饰", 45_900),
)  # fmt: skip
